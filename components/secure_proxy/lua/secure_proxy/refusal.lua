-- Refusing a request: little for the client, so that an attacker learns nothing about the rules, and the rule's name
-- and the reason for the audit log (written in the log phase, secure_proxy.outcome).

local ngx = ngx

local _M = {}

local BODIES = {
    [400] = '{"error":"bad request"}\n',
    [401] = '{"error":"a bearer token is required"}\n',
    [403] = '{"error":"access denied"}\n',
    [404] = '{"error":"not found"}\n',
    [405] = '{"error":"method not allowed"}\n',
    [421] = '{"error":"try again over another connection"}\n',
    [429] = '{"error":"too many requests"}\n',
    [431] = '{"error":"request headers too large"}\n',
    [503] = '{"error":"not available at the moment"}\n',
}

--- Notes why the request is refused, for the audit record; the first one stays.
-- @param rule the name of the setting or rule
function _M.note(rule, reason)
    ngx.ctx.refusal = ngx.ctx.refusal or { rule = rule, reason = reason }
end

--- Ends the request.
function _M.refuse(status, rule, reason)
    _M.note(rule, reason)
    ngx.status = status
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Cache-Control"] = "no-store"
    if status == 401 then
        -- RFC 6750, section 3: no error code when the request had no credentials.
        ngx.header["WWW-Authenticate"] = 'Bearer realm="secure-proxy"'
    elseif status == 429 then
        ngx.header["Retry-After"] = "60"
    elseif status == 503 then
        ngx.header["Retry-After"] = "5"
    end
    ngx.print(BODIES[status])
    return ngx.exit(status)
end

return _M
