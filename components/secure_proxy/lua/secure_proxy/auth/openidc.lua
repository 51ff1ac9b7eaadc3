-- Provider `openidc`: the proxy verifies tokens itself, in the worker. What it looks up and what it caches:
--   * keys come from secure_proxy.auth.keys, so that an unknown `kid` cannot make anybody download a key set each time;
--   * signatures that were found valid are remembered, with the key they were found valid for and nothing else: the
--     rules run on every request, and a key that the issuer withdrew takes its verdicts with it.

local config = require("secure_proxy.config")
local keys = require("secure_proxy.auth.keys")
local lrucache = require("resty.lrucache")
local signature = require("secure_proxy.auth.signature")

local ngx = ngx

local _M = {}

-- Per worker. Longer tokens are verified each time rather than kept.
local MAX_VERDICTS = 4096
local MAX_REMEMBERED_BYTES = 4096

local verdicts = assert(lrucache.new(MAX_VERDICTS))

--- @param token text, @param parsed what secure_proxy.auth.jwt.parse() made of it
-- @param rules the rules of the issuer that the token names
-- @return { } (nothing to add to what the token says), or nil, HTTP status, reason
function _M.verify(token, parsed, rules)
    local header = parsed.header
    local pem, status, reason = keys.find(rules.issuer, header.kid, header.alg)
    if not pem then
        return nil, status, reason
    end
    if verdicts:get(token) ~= pem then
        if not signature.is_valid(token, parsed, pem) then
            return nil, ngx.HTTP_FORBIDDEN, "signature is not by the issuer's key"
        end
        if #token <= MAX_REMEMBERED_BYTES then
            verdicts:set(token, pem)
        end
    end
    return {}
end

--- One issuer's outage must not keep out the users of another: its own are refused, and the failed refresh is logged.
-- @return true when there are keys of any issuer, or nil and the reason
function _M.ready()
    local issuers = config.authentication.issuers
    for _, rules in ipairs(issuers) do
        if keys.are_at_hand(rules.issuer) then
            return true
        end
    end
    local ok, reason
    for _, rules in ipairs(issuers) do
        ok, reason = keys.ready(rules.issuer)
        if ok then
            return true
        end
    end
    return nil, reason
end

function _M.start_worker()
    for _, rules in ipairs(config.authentication.issuers) do
        keys.start_worker(rules.issuer)
    end
end

return _M
