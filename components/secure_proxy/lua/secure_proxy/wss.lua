-- The content phase of the WSS listener: hands an authenticated request to the bridge.

local bridge = require("secure_proxy.bridge")
local config = require("secure_proxy.config")

local ngx = ngx

local _M = {}

--- Serves one WebSocket session; returns when it has ended.
function _M.serve()
    local identity = ngx.ctx.identity
    if not identity then
        -- Unreachable while the access phase is in place; a configuration that lost it must not open the application.
        ngx.log(ngx.ERR, "no identity in the content phase; refusing")
        return ngx.exit(ngx.HTTP_FORBIDDEN)
    end
    return bridge.run({
        backend_host = config.backend.host,
        backend_port = config.backend.wss_port,
        connect_timeout_ms = config.timeouts_ms.connect,
        read_timeout_ms = config.timeouts_ms.read,
        send_timeout_ms = config.timeouts_ms.send,
        limits = config.limits,
        expires_at = identity.expires_at,
    })
end

return _M
