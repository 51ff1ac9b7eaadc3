-- The content phase of the WSS listener: hands an authenticated request to the bridge.

local application = require("secure_proxy.application")
local bridge = require("secure_proxy.bridge")
local config = require("secure_proxy.config")
local module_session = require("secure_proxy.module_session")
local outcome = require("secure_proxy.outcome")
local session_id = require("secure_proxy.session_id")
local sessions = require("secure_proxy.sessions")

local ngx = ngx

local _M = {}

local SESSION_HEADER = "Secure-Proxy-Session"

local function backend_name()
    return config.backend.host .. ":" .. config.backend.wss_port
end

--- Serves one WebSocket session; returns when it has ended.
function _M.serve()
    local identity = ngx.ctx.identity
    if not identity then
        -- Unreachable while the access phase is in place; a configuration that lost it must not open the application.
        ngx.log(ngx.ERR, "no identity in the content phase; refusing")
        return ngx.exit(ngx.HTTP_FORBIDDEN)
    end
    local id = session_id.of_request()
    return bridge.run({
        backend_host = config.backend.host,
        backend_port = config.backend.wss_port,
        backend_tls = config.backend.tls,
        prepare_backend = application.prepare,
        connect_timeout_ms = config.timeouts_ms.connect,
        read_timeout_ms = config.timeouts_ms.read,
        send_timeout_ms = config.timeouts_ms.send,
        limits = config.limits,
        expires_at = identity.expires_at,
        renewed_until = function()
            return sessions.renewed_until(id)
        end,
        response_headers = { [SESSION_HEADER] = id },
        on_accept = function()
            return sessions.record_opening(backend_name())
        end,
        on_open = sessions.opened,
        on_verdict = sessions.ending,
        on_left = outcome.release,
        on_close = outcome.end_session,
    })
end

--- Runs in header_filter_by_lua with a bridge that is not ours: a 101 there means that the session is open.
function _M.opened_by_module()
    if ngx.status == ngx.HTTP_SWITCHING_PROTOCOLS and not ngx.ctx.session_id then
        if not sessions.record_opening(backend_name()) then
            -- Too late for another answer; the error keeps NGINX from sending this one.
            ngx.status = ngx.HTTP_SERVICE_UNAVAILABLE
            module_session.prevent()
            error("no session without an audit record")
        end
        sessions.opened(nil)
        ngx.header[SESSION_HEADER] = ngx.ctx.session_id
    end
end

return _M
