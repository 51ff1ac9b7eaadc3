--- Reading and writing a session's connections without Lua strings.
--
-- A cosocket hands over every byte as a Lua string: copied from its buffer, copied again into the buffer that is sent,
-- and left for the garbage collector, whose work grows with the number of sessions in the worker. For bulk data that
-- cost more than TLS itself. So bytes that are there already are read straight into a buffer of ours, and what the
-- kernel takes at once is written straight from it. Whatever would have to wait or has failed is left to the cosocket:
-- every function here either moves bytes or says that it didn't, none waits, and the cosocket meets the same condition
-- when it is asked next.
--
-- Why NGINX is not confused by this: its read events are edge-triggered, so bytes taken here can at worst make it try a
-- read that finds nothing. A TLS write cut short is repeated by the cosocket with the same bytes at another address,
-- which OpenSSL accepts in the mode set by client(). Library functions are declared under names of our own, because
-- other modules declare the originals in their way.

local ffi = require("ffi")
local base = require("resty.core.base")

local C = ffi.C
local errno = ffi.errno

ffi.cdef([[
void *secure_proxy_request_ssl(void *request, const char **error) __asm__("ngx_http_lua_ffi_get_req_ssl_pointer");
int secure_proxy_ssl_state(const void *ssl) __asm__("SSL_get_state");
long secure_proxy_ssl_ctrl(void *ssl, int command, long number, void *pointer) __asm__("SSL_ctrl");
int secure_proxy_ssl_read(void *ssl, void *buffer, int length) __asm__("SSL_read");
int secure_proxy_ssl_write(void *ssl, const void *buffer, int length) __asm__("SSL_write");
void secure_proxy_ssl_forget_errors(void) __asm__("ERR_clear_error");
int secure_proxy_socket_fd(void *socket, int fd, unsigned char *error, size_t *length)
    __asm__("ngx_http_lua_ffi_socket_tcp_hack_fd");
ssize_t secure_proxy_recv(int fd, void *buffer, size_t length, int flags) __asm__("recv");
ssize_t secure_proxy_send(int fd, const void *buffer, size_t length, int flags) __asm__("send");
int secure_proxy_shutdown(int fd, int how) __asm__("shutdown");
int secure_proxy_ioctl(int fd, unsigned long request, int *value) __asm__("ioctl");
int secure_proxy_getsockopt(int fd, int level, int name, void *value, unsigned int *length) __asm__("getsockopt");
int secure_proxy_ssl_fd(const void *ssl) __asm__("SSL_get_fd");
int secure_proxy_ssl_shutdown(void *ssl) __asm__("SSL_shutdown");
]])

local SOCKET_CONTEXT = 1 -- where a cosocket's table keeps its C structure
local TLS_ESTABLISHED = 1 -- TLS_ST_OK
local SSL_CTRL_MODE, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER = 33, 2
local MSG_NOSIGNAL = 0x4000
local SHUT_WR = 1
local EINTR, EAGAIN = 4, 11
local SIOCOUTQ = 0x5411
local IPPROTO_TCP, TCP_INFO, TCP_INFO_SIZE, TCP_CLOSE = 6, 11, 8, 7

local no_error = ffi.new("const char *[1]")
local error_text = ffi.new("unsigned char[?]", 64)
local error_length = ffi.new("size_t[1]")
local queued = ffi.new("int[1]")
local tcp_info = ffi.new("uint8_t[?]", TCP_INFO_SIZE) -- of which the first byte, the state, is looked at
local tcp_info_size = ffi.new("unsigned int[1]")
local SINK_SIZE = 65536
local sink = ffi.new("uint8_t[?]", SINK_SIZE)

local _M = {
    --- The smallest buffer that a cosocket may have (lua_socket_buffer_size: a page). Less than that means that the
    -- connection had no more.
    COSOCKET_BUFFER = 4096,
    --- Full buffers that a thread may move without waiting for anything, before it rests for the other sessions' sake.
    -- A millisecond is the shortest rest there is; after 8 MB it costs a tenth of what nobody but loopback reaches.
    TURNS = 128,
    REST_SECONDS = 0.001,
}

--- The TLS connection of the current request, or nil if there is none or its handshake is not over (early data).
function _M.client()
    local ssl = C.secure_proxy_request_ssl(base.get_request(), no_error)
    if ssl == nil or C.secure_proxy_ssl_state(ssl) ~= TLS_ESTABLISHED then
        return nil
    end
    C.secure_proxy_ssl_ctrl(ssl, SSL_CTRL_MODE, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, nil)
    return ssl
end

--- The file descriptor of a connected cosocket, or nil.
-- Modules before 0.10.29 have no tcpsock:getfd(); there it comes from a function made for the module's tests, which
-- changes nothing when it is given a negative descriptor.
function _M.descriptor(socket)
    if socket.getfd then
        return (socket:getfd())
    end
    error_length[0] = 64
    local fd = C.secure_proxy_socket_fd(socket[SOCKET_CONTEXT], -1, error_text, error_length)
    return fd >= 0 and fd or nil
end

--- Read decrypted bytes until `length` are there or no more are at hand.
-- @return how many, 0 if none: wait on the cosocket, which will also say whether the connection ended
function _M.read_tls(ssl, buffer, length)
    local total = 0
    while total < length do
        local count = C.secure_proxy_ssl_read(ssl, buffer + total, length - total)
        if count <= 0 then
            C.secure_proxy_ssl_forget_errors()
            break
        end
        total = total + count
    end
    return total
end

--- Write as much as is taken at once.
-- @return how many bytes, possibly 0. The cosocket must send the others next, and nothing before them: some may be
-- under way in an unfinished TLS record.
function _M.write_tls(ssl, bytes, length)
    local count = C.secure_proxy_ssl_write(ssl, bytes, length)
    if count <= 0 then
        C.secure_proxy_ssl_forget_errors()
        return 0
    end
    return count
end

--- Read what has arrived, up to `length` bytes.
-- @return how many; 0 if none or the end, which the cosocket will tell apart; nil if the connection failed
function _M.receive(fd, buffer, length)
    local count = tonumber(C.secure_proxy_recv(fd, buffer, length, 0))
    if count < 0 then
        local code = errno()
        return (code == EAGAIN or code == EINTR) and 0 or nil
    end
    return count
end

--- Write as much as the kernel takes at once.
-- @return how many bytes, possibly 0; nil if the connection failed
function _M.send(fd, bytes, length)
    local count = tonumber(C.secure_proxy_send(fd, bytes, length, MSG_NOSIGNAL))
    if count < 0 then
        local code = errno()
        return (code == EAGAIN or code == EINTR) and 0 or nil
    end
    return count
end

--- Tell the peer that nothing more will come, while it may still answer; cosockets have no method for it.
-- @return true if it was told
function _M.half_close(fd)
    return C.secure_proxy_shutdown(fd, SHUT_WR) == 0
end

--- The same over TLS: its own word for the end (RFC 8446, section 6.1), then TCP's. Nothing of what was written before
-- may still be under way in the cosocket.
function _M.half_close_tls(ssl)
    C.secure_proxy_ssl_shutdown(ssl)
    C.secure_proxy_ssl_forget_errors()
    C.secure_proxy_shutdown(C.secure_proxy_ssl_fd(ssl), SHUT_WR)
end

--- The file descriptor under a TLS connection.
function _M.descriptor_of_tls(ssl)
    return C.secure_proxy_ssl_fd(ssl)
end

--- How many bytes the peer's machine has not yet said to have (tcp(7), SIOCOUTQ). The end of a connection that is half
-- closed counts as one more, until it has been noticed.
function _M.unacknowledged(fd)
    return C.secure_proxy_ioctl(fd, SIOCOUTQ, queued) == 0 and queued[0] or 0
end

--- Is the connection over, in both directions? A reset is such an end, and a descriptor that has seen the end of the
-- stream before does not report it in any other way.
function _M.is_over(fd)
    tcp_info_size[0] = TCP_INFO_SIZE
    return C.secure_proxy_getsockopt(fd, IPPROTO_TCP, TCP_INFO, tcp_info, tcp_info_size) ~= 0
        or tcp_info[0] == TCP_CLOSE
end

--- Read what has arrived and throw it away, up to a bound.
-- @return how many bytes
function _M.discard(fd)
    local total = 0
    for _ = 1, _M.TURNS do
        local count = tonumber(C.secure_proxy_recv(fd, sink, SINK_SIZE, 0))
        if count <= 0 then
            break
        end
        total = total + count
    end
    return total
end

return _M
