-- Authentication of one request. Two providers, one set of outcomes:
--   no token presented                     → 401
--   a token presented and not accepted     → 403
--   nobody can say (verifier unreachable)  → 503, never "allowed"

local config = require("secure_proxy.config")
local bearer = require("secure_proxy.auth.bearer")

local ngx = ngx

local _M = {}

local PROVIDERS = {
    openidc = "secure_proxy.auth.openidc",
    external = "secure_proxy.auth.external",
}

-- Loaded on first use: the external provider must work in a build that has no lua-resty-openidc.
local function provider()
    return require(PROVIDERS[config.authentication.provider])
end

--- Authenticates the current request (access phase).
-- @return identity { subject = string or nil, expires_at = epoch seconds or nil }
-- or nil, HTTP status, reason (for the log alone)
function _M.authenticate()
    local token, status, reason = bearer.from_request()
    if not token then
        return nil, status, reason
    end
    local identity
    identity, status, reason = provider().verify(token)
    if not identity then
        return nil, status, reason
    end
    if identity.expires_at and identity.expires_at + config.authentication.clock_skew_s <= ngx.time() then
        return nil, ngx.HTTP_FORBIDDEN, "token has expired"
    end
    return identity
end

--- Whether tokens can be verified now.
-- @return true, or nil and the reason
function _M.ready()
    return provider().ready()
end

--- Runs in init_worker: a provider may fetch its keys before the first client comes.
function _M.start_worker()
    provider().start_worker()
end

return _M
