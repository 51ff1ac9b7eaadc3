-- The signing keys of each issuer: discovery document and key set, shared by all workers.
--
-- A refresh is done by one worker at a time and at most once in a while, whatever clients send, so that tokens with
-- made-up key ids cannot be used to hammer the identity provider. It runs in a timer of the worker's own, never in a
-- request, nor in a timer that a request made: a client that goes away cannot break it off, and TLS is verified against
-- the identity providers' authorities, where a request's location has the application's. When the issuer cannot be
-- reached, known keys stay in use for a bounded time.

local cjson = require("cjson.safe").new()
local config = require("secure_proxy.config")
local download = require("secure_proxy.auth.download")
local key_set = require("secure_proxy.auth.key_set")

local ngx = ngx
local type = type
local min = math.min

local _M = {}

local REFRESH_INTERVAL_S = 300
-- Between two refreshes: while there are keys, and while there are none.
local GATE_S, GATE_WITHOUT_KEYS_S = 10, 2
-- Both documents together; a handshake waits a little longer than that for another one's refresh.
local DOWNLOAD_S = 5
local WAIT_S = DOWNLOAD_S + 2
local WAIT_STEP_S = 0.05
-- How often a worker looks whether one of its requests wants a refresh.
local POLL_S = 0.1
-- How long a worker goes by what it saw in the shared dictionary, whose text is long.
local LOOKUP_INTERVAL_S = 0.5

-- Per worker and issuer: the decoded form of the text that the shared dictionary holds.
local decoded = {}

-- The issuers whose keys a request of this worker waits for.
local wanted = {}

local function fetch(issuer)
    local deadline = ngx.now() + DOWNLOAD_S
    local discovery, err = download.json(issuer:gsub("/$", "") .. "/.well-known/openid-configuration", deadline)
    if not discovery then
        return nil, "discovery document: " .. err
    end
    -- OpenID Connect Discovery 1.0, section 4.3.
    if discovery.issuer ~= issuer then
        return nil, "discovery document names another issuer"
    end
    if type(discovery.jwks_uri) ~= "string" then
        return nil, "discovery document has no jwks_uri"
    end
    -- Keys that came over plain HTTP would make an https:// issuer's promise void.
    if issuer:find("^https:") and not discovery.jwks_uri:find("^https:") then
        return nil, "jwks_uri is not https:// as the issuer is"
    end
    local set
    set, err = download.json(discovery.jwks_uri, deadline)
    if not set then
        return nil, "key set: " .. err
    end
    return key_set.read(set)
end

local function stored(issuer)
    local now = ngx.now()
    local known = decoded[issuer]
    if known and now - known.looked_up_at < LOOKUP_INTERVAL_S then
        return known.content
    end
    local text = ngx.shared.jwks:get("keys:" .. issuer)
    if not text then
        decoded[issuer] = nil
        return nil
    end
    if not known or known.text ~= text then
        known = { text = text, content = cjson.decode(text) }
        decoded[issuer] = known
    end
    known.looked_up_at = now
    return known.content
end

-- As stored(), and what another worker has fetched in this moment is seen.
local function stored_by_now(issuer)
    decoded[issuer] = nil
    return stored(issuer)
end

local function refresh(issuer)
    local shared = ngx.shared.jwks
    local by_kid, reason = fetch(issuer)
    if by_kid then
        local text = cjson.encode({ by_kid = by_kid, fetched_at = ngx.time() })
        shared:set("keys:" .. issuer, text, config.authentication.stale_keys_s)
        shared:delete("error:" .. issuer)
    else
        shared:set("error:" .. issuer, reason)
        ngx.log(ngx.ERR, "signing keys of ", issuer, " cannot be refreshed: ", reason)
    end
    shared:delete("busy:" .. issuer)
end

-- Takes the right to refresh: nobody else has it meanwhile, nor for a moment afterwards.
local function may_refresh(issuer)
    local shared = ngx.shared.jwks
    -- A gate that outlasts the keys would leave none between two refreshes.
    local gate = min(stored(issuer) and GATE_S or GATE_WITHOUT_KEYS_S, config.authentication.stale_keys_s / 4)
    -- `busy` ends by itself only when the worker that has it died.
    return not shared:get("busy:" .. issuer)
        and shared:add("gate:" .. issuer, true, gate)
        and shared:add("busy:" .. issuer, true, WAIT_S)
end

-- The gate is taken by the request, so that the time between two refreshes does not depend on who does them.
local function refresh_and_wait(issuer)
    local shared = ngx.shared.jwks
    -- A worker that is leaving runs no timers any more.
    if not ngx.worker.exiting() and may_refresh(issuer) then
        wanted[issuer] = true
    end
    local deadline = ngx.now() + WAIT_S
    while shared:get("busy:" .. issuer) and ngx.now() < deadline do
        ngx.sleep(WAIT_STEP_S)
    end
    return stored_by_now(issuer)
end

local function no_keys(issuer)
    return "no signing keys at hand: " .. (ngx.shared.jwks:get("error:" .. issuer) or "not fetched yet")
end

--- Finds the key that a token names.
-- @return PEM text, or nil, HTTP status, reason
function _M.find(issuer, kid, algorithm)
    local keys = stored(issuer)
    local key = keys and keys.by_kid[kid]
    if not key then
        keys = refresh_and_wait(issuer)
        if not keys then
            return nil, ngx.HTTP_SERVICE_UNAVAILABLE, no_keys(issuer)
        end
        key = keys.by_kid[kid]
    end
    if not key then
        return nil, ngx.HTTP_FORBIDDEN, "token names a key that the issuer does not have"
    end
    if not key.algorithms[algorithm] then
        return nil, ngx.HTTP_FORBIDDEN, "token's algorithm is not its key's"
    end
    return key.pem
end

--- @return whether there are keys now, without waiting for any
function _M.are_at_hand(issuer)
    return stored(issuer) ~= nil
end

--- Waits for keys when there are none.
-- @return true when keys are at hand, else nil and the reason
function _M.ready(issuer)
    if stored(issuer) or refresh_and_wait(issuer) then
        return true
    end
    return nil, no_keys(issuer)
end

--- Fetches the keys now and keeps them fresh.
function _M.start_worker(issuer)
    local interval = min(REFRESH_INTERVAL_S, config.authentication.stale_keys_s / 2)
    local function keep_fresh(premature)
        if premature then
            return
        end
        local keys = stored(issuer)
        if (not keys or ngx.time() - keys.fetched_at >= interval) and may_refresh(issuer) then
            refresh(issuer)
        end
    end
    local function obey_requests()
        -- Also when the worker is leaving: others may be waiting for what it has taken upon itself.
        if wanted[issuer] then
            wanted[issuer] = nil
            refresh(issuer)
        end
    end
    assert(ngx.timer.at(0, keep_fresh))
    assert(ngx.timer.every(min(GATE_S, interval), keep_fresh))
    assert(ngx.timer.every(POLL_S, obey_requests))
end

return _M
