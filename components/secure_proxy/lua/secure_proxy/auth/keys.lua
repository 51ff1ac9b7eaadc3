-- The signing keys of each issuer: discovery document and key set, shared by all workers.
--
-- A refresh is done by one worker at a time and at most once in a while, whatever clients send, so that tokens with
-- made-up key ids cannot be used to hammer the identity provider. It runs in a timer, never in a request: a client that
-- goes away cannot break it off. When the issuer cannot be reached, known keys stay in use for a bounded time.

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
-- How long a worker goes by what it saw in the shared dictionary, whose text is long.
local LOOKUP_INTERVAL_S = 0.5

-- Per worker and issuer: the decoded form of the text that the shared dictionary holds.
local decoded = {}

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

local function refresh(premature, issuer)
    local shared = ngx.shared.jwks
    if not premature then
        -- lua-resty-core raises an error where a TLS handshake fails in certain moments.
        local returned, by_kid, reason = pcall(fetch, issuer)
        if not returned then
            by_kid, reason = nil, "connection failed"
        end
        if by_kid then
            local text = cjson.encode({ by_kid = by_kid, fetched_at = ngx.time() })
            shared:set("keys:" .. issuer, text, config.authentication.stale_keys_s)
            shared:delete("error:" .. issuer)
        else
            shared:set("error:" .. issuer, reason)
            ngx.log(ngx.ERR, "signing keys of ", issuer, " cannot be refreshed: ", reason)
        end
    end
    shared:delete("busy:" .. issuer)
end

-- Starts a refresh unless one was started a moment ago.
local function request_refresh(issuer)
    local shared = ngx.shared.jwks
    -- A gate that outlasts the keys would leave none between two refreshes.
    local gate = min(stored(issuer) and GATE_S or GATE_WITHOUT_KEYS_S, config.authentication.stale_keys_s / 4)
    if not shared:add("gate:" .. issuer, true, gate) then
        return
    end
    shared:set("busy:" .. issuer, true, WAIT_S)
    local ok, err = ngx.timer.at(0, refresh, issuer)
    if not ok then
        shared:delete("busy:" .. issuer)
        ngx.log(ngx.ERR, "signing keys of ", issuer, " cannot be refreshed: ", err)
    end
end

local function refresh_and_wait(issuer)
    request_refresh(issuer)
    local deadline = ngx.now() + WAIT_S
    while ngx.shared.jwks:get("busy:" .. issuer) and ngx.now() < deadline do
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

--- @return true when keys are at hand, else nil and the reason
function _M.ready(issuer)
    if stored(issuer) or refresh_and_wait(issuer) then
        return true
    end
    return nil, no_keys(issuer)
end

--- Fetches the keys now and keeps them fresh.
function _M.start_worker(issuer)
    local interval = min(REFRESH_INTERVAL_S, config.authentication.stale_keys_s / 2)
    local function tick(premature)
        if premature then
            return
        end
        local keys = stored(issuer)
        if not keys or ngx.time() - keys.fetched_at >= interval then
            request_refresh(issuer)
        end
    end
    assert(ngx.timer.at(0, tick))
    assert(ngx.timer.every(min(GATE_S, interval), tick))
end

return _M
