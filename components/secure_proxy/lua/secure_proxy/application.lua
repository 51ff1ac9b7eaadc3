-- What happens on a fresh connection to the application before the session begins: PROXY protocol, then TLS.

local config = require("secure_proxy.config")
local proxy_protocol = require("secure_proxy.proxy_protocol")
local session_id = require("secure_proxy.session_id")

local ngx = ngx

local _M = {}

local function announce(socket)
    local var, ctx = ngx.var, ngx.ctx
    local identity = ctx.identity
    local header, err = proxy_protocol.header(
        { address = var.remote_addr, port = tonumber(var.remote_port) },
        { address = var.server_addr, port = tonumber(var.server_port) },
        {
            id = session_id.of_request(),
            subject = identity.subject,
            issuer = identity.issuer,
            route = ctx.route.path,
            certificate = identity.certificate and identity.certificate.subject,
        }
    )
    if not header then
        return nil, err
    end
    return socket:send(header)
end

local function encrypt(socket)
    local credentials = config.credentials.backend
    if credentials then
        local ok, err = socket:setclientcert(credentials.chain, credentials.key)
        if not ok then
            return nil, "client certificate: " .. err
        end
    end
    -- lua-resty-core raises an error where a handshake fails in certain moments.
    local returned, session, err = pcall(socket.sslhandshake, socket, nil, config.backend.server_name, true)
    if not returned then
        return nil, "TLS handshake failed"
    end
    return session, err
end

--- @param socket connected
-- @return true, or nil and the reason
function _M.prepare(socket)
    local ok, err = true, nil
    if config.backend.proxy_protocol then
        ok, err = announce(socket)
    end
    if ok and config.backend.tls then
        ok, err = encrypt(socket)
    end
    return ok and true or nil, err
end

return _M
