-- Authentication of one request. Two providers, one set of outcomes:
--   no token presented                     → 401
--   a token presented and not accepted     → 403
--   nobody can say (verifier unreachable)  → 503, never "allowed"
-- The strict reading of the token and the rules about its claims are the same for both; a provider answers for the
-- signature.

local config = require("secure_proxy.config")
local jwt = require("secure_proxy.auth.jwt")
local lrucache = require("resty.lrucache")
local rules = require("secure_proxy.auth.rules")
local source = require("secure_proxy.auth.source")

local ngx = ngx
local min = math.min

local _M = {}

local PROVIDERS = {
    openidc = "secure_proxy.auth.openidc",
    external = "secure_proxy.auth.external",
}

-- What tokens say, per worker. Reading depends on the text alone, so nothing here can open a door; whether a token is
-- genuine and accepted is asked anew each time.
local MAX_READINGS = 4096
local MAX_REMEMBERED_BYTES = 4096
local readings = assert(lrucache.new(MAX_READINGS))

-- Loaded on first use: the external provider must work in a build that has no lua-resty-openidc.
local function provider()
    return require(PROVIDERS[config.authentication.provider])
end

local function read(token)
    local parsed = readings:get(token)
    if parsed then
        return parsed
    end
    local reason
    parsed, reason = jwt.parse(token)
    if parsed and #token <= MAX_REMEMBERED_BYTES then
        readings:set(token, parsed)
    end
    return parsed, reason
end

local function rules_of(issuer)
    for _, candidate in ipairs(config.authentication.issuers) do
        if candidate.issuer == issuer then
            return candidate
        end
    end
end

local function has_value(list, wanted)
    for _, value in ipairs(list) do
        if value == wanted then
            return true
        end
    end
    return false
end

-- @return the issuer's rules, or nil and the reason
local function judge(parsed, route)
    local issuer_rules = rules_of(parsed.claims.iss)
    if not issuer_rules then
        return nil, "claim 'iss' is not a configured issuer"
    end
    if not has_value(issuer_rules.algorithms, parsed.header.alg) then
        return nil, "algorithm is not on the allow-list"
    end
    local ok, reason = rules.check(parsed.claims, issuer_rules)
    if not ok then
        return nil, reason
    end
    if route then
        ok, reason = rules.check_grants(parsed.claims, route)
        if not ok then
            return nil, "route " .. route.path .. ": " .. reason
        end
    end
    return issuer_rules
end

-- A session ends when its token does. One that is inside the clock skew already ends with the skew.
local function end_of(expires_at, skew)
    return expires_at > ngx.time() and expires_at or expires_at + skew
end

--- Decides about a token.
-- @param route what the route asks for beyond the issuer's rules, or nil
-- @return identity { subject or nil, issuer, expires_at = epoch seconds }, or nil, HTTP status, reason (for the log)
function _M.verify(token, route)
    local parsed, reason = read(token)
    if not parsed then
        return nil, ngx.HTTP_FORBIDDEN, reason
    end
    local issuer_rules
    issuer_rules, reason = judge(parsed, route)
    if not issuer_rules then
        return nil, ngx.HTTP_FORBIDDEN, reason
    end
    local status, said
    said, status, reason = provider().verify(token, parsed, issuer_rules)
    if not said then
        return nil, status, reason
    end
    local claims, skew = parsed.claims, issuer_rules.clock_skew_s
    local expires_at = min(claims.exp, said.expires_at or claims.exp)
    if expires_at + skew <= ngx.time() then
        return nil, ngx.HTTP_FORBIDDEN, "token has expired"
    end
    return {
        subject = said.subject or claims.sub,
        issuer = issuer_rules.issuer,
        expires_at = end_of(expires_at, skew),
    }
end

--- Authenticates the current request (access phase).
-- @param sources where a token may stand: see secure_proxy.auth.source
-- @return as verify()
function _M.authenticate(sources, route)
    local token, status, reason = source.from_request(sources)
    if not token then
        return nil, status, reason
    end
    return _M.verify(token, route)
end

--- Whether tokens can be verified now.
-- @return true, or nil and the reason
function _M.ready()
    return provider().ready()
end

--- Runs in init_by_lua.
function _M.load_provider()
    provider()
end

--- Runs in init_worker: a provider may fetch its keys before the first client comes.
function _M.start_worker()
    provider().start_worker()
end

return _M
