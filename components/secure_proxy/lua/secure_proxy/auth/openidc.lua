-- Provider `openidc`: lua-resty-openidc verifies the signature, with the traps of that library closed:
--   * keys come from secure_proxy.auth.keys, so that an unknown `kid` cannot make it download the key set each time;
--   * its cache of verified tokens ignores claim rules, so they run on every request, after it;
--   * the strict parser runs before it, so `alg`, duplicate members and foreign keys never reach it;
--   * its log lines carry tokens, so they are not written.

local config = require("secure_proxy.config")
local jwt = require("secure_proxy.auth.jwt")
local keys = require("secure_proxy.auth.keys")
local openidc = require("resty.openidc")

local ngx = ngx

openidc.set_logging(function() end, { DEBUG = ngx.DEBUG, ERROR = ngx.ERR, WARN = ngx.WARN })

local _M = {}

--- @return identity, or nil, HTTP status, reason
function _M.verify(token)
    local rules = config.authentication
    local parsed, reason = jwt.parse(token, rules.algorithms)
    if not parsed then
        return nil, ngx.HTTP_FORBIDDEN, reason
    end

    local public_key, status
    public_key, status, reason = keys.find(rules.issuer, parsed.header.kid)
    if not public_key then
        return nil, status, reason
    end

    local claims
    claims, reason = openidc.jwt_verify(token, {
        public_key = public_key,
        token_signing_alg_values_expected = rules.algorithms,
        accept_none_alg = false,
        accept_unsupported_alg = false,
        iat_slack = rules.clock_skew_s,
    })
    if reason or type(claims) ~= "table" then
        return nil, ngx.HTTP_FORBIDDEN, "signature: " .. tostring(reason)
    end

    local ok
    ok, reason = jwt.check(claims, rules)
    if not ok then
        return nil, ngx.HTTP_FORBIDDEN, reason
    end
    return { subject = claims.sub, expires_at = claims.exp }
end

--- @return true, or nil and the reason
function _M.ready()
    return keys.ready(config.authentication.issuer)
end

function _M.start_worker()
    keys.start_worker(config.authentication.issuer)
end

return _M
