-- The signing keys of an issuer: discovery document and key set, shared by all workers.
--
-- A refresh is done by one worker at a time and at most once in REFRESH_GATE_S, whatever clients send, so that tokens
-- with made-up key ids cannot be used to hammer the identity provider. When it cannot be reached, known keys stay in
-- use for MAX_STALE_S and no longer.

local cjson = require("cjson.safe").new()
local http = require("resty.http")
local pkey = require("resty.openssl.pkey")

local ngx = ngx
local type = type

cjson.decode_invalid_numbers(false)

local _M = {}

local REFRESH_INTERVAL_S = 300
local REFRESH_GATE_S = 10
local MAX_STALE_S = 24 * 60 * 60
local REQUEST_TIMEOUT_MS = 3000
local MAX_DOCUMENT_BYTES = 256 * 1024
local MIN_RSA_BITS = 2048
-- How long a handshake waits for another one's download.
local WAIT_S = 2 * REQUEST_TIMEOUT_MS / 1000
local WAIT_STEP_S = 0.05

-- Per worker: the decoded key set of the version that the shared dictionary holds.
local decoded = {}

local function fetch_json(url)
    local client = http.new()
    client:set_timeouts(REQUEST_TIMEOUT_MS, REQUEST_TIMEOUT_MS, REQUEST_TIMEOUT_MS)
    local parts, err = client:parse_uri(url, false)
    if not parts then
        return nil, "unusable address: " .. err
    end
    local scheme, host, port, path = parts[1], parts[2], parts[3], parts[4]
    local ok
    ok, err = client:connect({
        scheme = scheme, host = host, port = port,
        ssl_verify = true, ssl_server_name = scheme == "https" and host or nil,
    })
    if not ok then
        return nil, err
    end
    local response
    response, err = client:request({ method = "GET", path = path, headers = { Accept = "application/json" } })
    if not response then
        client:close()
        return nil, err
    end
    -- Redirects are not followed: the configured issuer answers for itself or not at all.
    if response.status ~= 200 then
        client:close()
        return nil, "status " .. response.status
    end

    local body, length = {}, 0
    while response.body_reader do
        local chunk
        chunk, err = response.body_reader(8192)
        if err then
            client:close()
            return nil, err
        end
        if not chunk then
            break
        end
        length = length + #chunk
        if length > MAX_DOCUMENT_BYTES then
            client:close()
            return nil, "more than " .. MAX_DOCUMENT_BYTES .. " bytes"
        end
        body[#body + 1] = chunk
    end
    client:close()

    local document = cjson.decode(table.concat(body))
    if type(document) ~= "table" then
        return nil, "not JSON"
    end
    return document
end

-- @return the public key as PEM text, or nil when it is not one that tokens may be signed with here
local function usable_pem(jwk)
    if type(jwk) ~= "table" or jwk.kty ~= "RSA" then
        return nil
    end
    if jwk.use ~= nil and jwk.use ~= "sig" then
        return nil
    end
    local key = pkey.new(cjson.encode({ kty = jwk.kty, n = jwk.n, e = jwk.e }), { format = "JWK" })
    if not key then
        return nil
    end
    local parameters = key:get_parameters()
    if not parameters or parameters.n:to_binary() == nil or #parameters.n:to_binary() * 8 < MIN_RSA_BITS then
        return nil
    end
    return (key:to_PEM("public"))
end

-- @return { by_kid = { kid → PEM }, only = PEM when there is a single key, fetched_at = epoch seconds }, or nil and reason
local function download(issuer)
    local discovery, err = fetch_json(issuer .. "/.well-known/openid-configuration")
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
    local set
    set, err = fetch_json(discovery.jwks_uri)
    if not set then
        return nil, "key set: " .. err
    end
    if type(set.keys) ~= "table" then
        return nil, "key set has no keys"
    end

    local by_kid, count, only = {}, 0, nil
    for _, jwk in ipairs(set.keys) do
        local pem = usable_pem(jwk)
        if pem then
            count = count + 1
            only = pem
            if type(jwk.kid) == "string" then
                by_kid[jwk.kid] = pem
            end
        end
    end
    if count == 0 then
        return nil, "key set has no usable RSA signing key of at least " .. MIN_RSA_BITS .. " bits"
    end
    return { by_kid = by_kid, only = count == 1 and only or nil, fetched_at = ngx.time() }
end

local function stored(issuer)
    local text = ngx.shared.jwks:get("keys:" .. issuer)
    if not text then
        return nil
    end
    local known = decoded[issuer]
    if not known or known.text ~= text then
        known = { text = text, keys = cjson.decode(text) }
        decoded[issuer] = known
    end
    return known.keys
end

-- One download at a time; returns at once when another worker has just tried.
local function refresh(issuer)
    local shared = ngx.shared.jwks
    if not shared:add("gate:" .. issuer, true, REFRESH_GATE_S) then
        return
    end
    shared:set("busy:" .. issuer, true, WAIT_S)
    local keys, reason = download(issuer)
    if keys then
        shared:set("keys:" .. issuer, cjson.encode(keys), MAX_STALE_S)
        shared:delete("error:" .. issuer)
    else
        shared:set("error:" .. issuer, reason)
        ngx.log(ngx.ERR, "signing keys of ", issuer, " cannot be refreshed: ", reason)
    end
    shared:delete("busy:" .. issuer)
end

local function refresh_and_wait(issuer)
    refresh(issuer)
    local deadline = ngx.now() + WAIT_S
    while ngx.shared.jwks:get("busy:" .. issuer) and ngx.now() < deadline do
        ngx.sleep(WAIT_STEP_S)
    end
    return stored(issuer)
end

local function pick(keys, kid)
    if kid then
        return keys.by_kid[kid]
    end
    return keys.only
end

--- Finds the key that a token names.
-- @param kid key id, or nil when the token names none (then the issuer must have exactly one key)
-- @return PEM text, or nil, HTTP status, reason
function _M.find(issuer, kid)
    local keys = stored(issuer)
    local pem = keys and pick(keys, kid)
    if not pem then
        keys = refresh_and_wait(issuer)
        if not keys then
            local reason = ngx.shared.jwks:get("error:" .. issuer) or "not fetched yet"
            return nil, ngx.HTTP_SERVICE_UNAVAILABLE, "no signing keys at hand: " .. reason
        end
        pem = pick(keys, kid)
    end
    if not pem then
        return nil, ngx.HTTP_FORBIDDEN, "token is signed by a key that the issuer does not have"
    end
    return pem
end

--- @return true when keys are at hand, else nil and the reason
function _M.ready(issuer)
    if stored(issuer) or refresh_and_wait(issuer) then
        return true
    end
    return nil, "no signing keys at hand: " .. (ngx.shared.jwks:get("error:" .. issuer) or "not fetched yet")
end

--- Fetches the keys now and keeps them fresh.
function _M.start_worker(issuer)
    local function tick(premature)
        if premature then
            return
        end
        local keys = stored(issuer)
        if not keys or ngx.time() - keys.fetched_at >= REFRESH_INTERVAL_S then
            refresh(issuer)
        end
    end
    assert(ngx.timer.at(0, tick))
    assert(ngx.timer.every(REFRESH_GATE_S, tick))
end

return _M
