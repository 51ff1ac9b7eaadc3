--- Tell the backend that nothing more will come, while it may still answer: shutdown(2) of the sending side.
--
-- lua-nginx-module's cosockets have no such method. The socket's file descriptor comes from the module itself: by
-- tcpsock:getfd() since 0.10.29; before that by the function behind its test suite's descriptor tricks, which returns
-- the descriptor and changes nothing when it is given a negative one.

local ffi = require("ffi")
require("resty.core.base")

local C = ffi.C
local SOCKET_CONTEXT = 1 -- where a cosocket's table keeps its C structure
local SHUT_WR = 1

ffi.cdef([[
int shutdown(int sockfd, int how);
int ngx_http_lua_ffi_socket_tcp_hack_fd(void *u, int fd, unsigned char *err, size_t *errlen);
]])

local error_text = ffi.new("unsigned char[?]", 64)
local error_length = ffi.new("size_t[1]")

local _M = {}

local function descriptor(socket)
    if socket.getfd then
        return socket:getfd()
    end
    error_length[0] = 64
    local fd = C.ngx_http_lua_ffi_socket_tcp_hack_fd(socket[SOCKET_CONTEXT], -1, error_text, error_length)
    return fd >= 0 and fd or nil
end

--- Shut the sending side of a connected cosocket.
-- @return true if the peer was told
function _M.send_side(socket)
    local fd = descriptor(socket)
    return fd ~= nil and C.shutdown(fd, SHUT_WR) == 0
end

return _M
