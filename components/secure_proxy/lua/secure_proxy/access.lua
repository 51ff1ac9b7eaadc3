-- The access phase of the WSS listener: who is calling, or a refusal.

local authentication = require("secure_proxy.auth")

local ngx = ngx

local _M = {}

-- The body says little, so that an attacker learns nothing about the rules; the log has the reason.
local BODIES = {
    [401] = '{"error":"a bearer token is required"}\n',
    [403] = '{"error":"access denied"}\n',
    [503] = '{"error":"tokens cannot be verified at the moment"}\n',
}

local function refuse(status, reason)
    ngx.log(ngx.NOTICE, "refused with ", status, ": ", reason)
    ngx.status = status
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Cache-Control"] = "no-store"
    if status == 401 then
        -- RFC 6750, section 3: no error code when the request had no credentials.
        ngx.header["WWW-Authenticate"] = 'Bearer realm="secure-proxy"'
    end
    if status == 503 then
        ngx.header["Retry-After"] = "5"
    end
    ngx.print(BODIES[status])
    return ngx.exit(status)
end

--- Lets the request through with `ngx.ctx.identity` set, or ends it with 401, 403 or 503.
function _M.require_identity()
    local identity, status, reason = authentication.authenticate()
    if not identity then
        return refuse(status, reason)
    end
    ngx.ctx.identity = identity
end

return _M
