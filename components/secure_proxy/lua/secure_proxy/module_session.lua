-- A session that a module of NGINX serves (bridge `websockify`), as far as it can be reached from outside: it can be
-- ended, with a close frame where the connection has room for one.
--
-- The module hands whole frames to TLS until TLS takes no more. So either the client has been sent whole frames, and
-- ours may follow, or a TLS record is under way, and then OpenSSL refuses other bytes than that record's (SSL_write(3),
-- "bad write retry") and the connection ends without a close frame. Both ways the module meets a connection that ended.

local bit = require("bit")
local ffi = require("ffi")
local base = require("resty.core.base")

local ngx = ngx
local C = ffi.C
local char = string.char

ffi.cdef([[
void *secure_proxy_module_ssl(void *request, const char **error) __asm__("ngx_http_lua_ffi_get_req_ssl_pointer");
int secure_proxy_module_fd(const void *ssl) __asm__("SSL_get_fd");
int secure_proxy_module_write(void *ssl, const char *bytes, int length) __asm__("SSL_write");
int secure_proxy_module_shutdown(int fd, int how) __asm__("shutdown");
void secure_proxy_module_forget_errors(void) __asm__("ERR_clear_error");
]])

local FINAL_CLOSE_FRAME = 0x88 -- RFC 6455, section 5.2
local BOTH_WAYS = 2

local no_error = ffi.new("const char *[1]")

local _M = {}

local function disconnect(ssl)
    C.secure_proxy_module_shutdown(C.secure_proxy_module_fd(ssl), BOTH_WAYS)
end

--- Keeps the current request from becoming a session: its client is gone before it hears of one.
function _M.prevent()
    disconnect(C.secure_proxy_module_ssl(base.get_request(), no_error))
end

--- The current request's session, at the moment when it opens. It must be forgotten in the log phase, after which NGINX
-- closes the connection.
-- @param expires_at epoch seconds
-- @param max_age_s seconds that it may live at most, or 0
function _M.new(expires_at, max_age_s)
    return {
        of_module = true,
        ssl = C.secure_proxy_module_ssl(base.get_request(), no_error),
        expires_at = expires_at,
        ends_at = max_age_s > 0 and ngx.now() + max_age_s or math.huge,
    }
end

--- Ends the session at once.
-- @param code close code, @param reason short ASCII text, for the close frame and the log
function _M.cut(session, code, reason)
    if session.code then
        return
    end
    session.code, session.reason = code, reason
    local payload = char(bit.rshift(code, 8), code % 256) .. reason
    local frame = char(FINAL_CLOSE_FRAME, #payload) .. payload
    C.secure_proxy_module_write(session.ssl, frame, #frame)
    C.secure_proxy_module_forget_errors()
    disconnect(session.ssl)
end

return _M
