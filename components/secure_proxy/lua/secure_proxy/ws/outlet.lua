--- The way to the client: whole frames, one writer at a time.
--
-- Backend data come from one thread, pongs from another, pings and the close frame from a third. A frame that finds the
-- socket taken is left with the writer, who sends it between two frames of its own: a pong thus overtakes data that
-- wait for a slow client, and never tears a frame.

local ffi = require("ffi")
local semaphore = require("ngx.semaphore")
local direct = require("secure_proxy.ws.direct")
local encoder = require("secure_proxy.ws.encoder")

local ffi_string = ffi.string
local max, min = math.max, math.min
local prepend_header = encoder.prepend_header
local write_tls = direct.write_tls

-- Pongs kept for a client that does not read. Beyond it the older ones go: only the latest ping needs an answer (RFC
-- 6455, section 5.5.3).
local LONGEST_BACKLOG = 4096
local RECORD_OVERHEAD = 29 -- bytes that TLS 1.2 adds; 1.3 adds a few less (RFC 5288, section 3; RFC 8446, section 5.2)
local TURN_TIMEOUT = 3600 -- seconds; the socket's own send timeout ends the wait long before

local _M = {}

--- An outlet to a connected client socket.
-- @param ssl its TLS connection, or nil
-- @param idle semaphore posted once when the close frame has left, or cannot leave
function _M.new(socket, ssl, idle)
    return {
        socket = socket,
        ssl = ssl,
        fd = ssl and direct.descriptor_of_tls(ssl),
        idle = idle,
        turn = false, -- semaphore, made when the data writer first has to wait
        backlog = false, -- control frames for the current writer to send
        writing = false,
        waiting = false,
        closed = false, -- the close frame was given; nothing may follow it
        broken = false, -- the error that ended the socket
        tail = 0, -- bytes on the wire after the last message: the close frame's
        pending = 0, -- payload bytes of the message that is being written
        bytes = 0, -- of those that were written
        frames = 0,
    }
end

-- Send a string of whole frames, and after it what others have left meanwhile. May wait.
local function write(outlet, frames)
    local socket = outlet.socket
    outlet.writing = true
    local sent, err = socket:send(frames)
    while sent and outlet.backlog do
        local backlog = outlet.backlog
        outlet.backlog = false
        sent, err = socket:send(backlog)
    end
    outlet.writing = false
    if not sent then
        outlet.broken = err
    end
    if outlet.waiting then
        outlet.waiting = false
        outlet.turn:post(1)
    end
    if outlet.closed then
        outlet.idle:post(1)
    end
    return sent, err
end

local function await_turn(outlet)
    while outlet.writing do
        outlet.turn = outlet.turn or semaphore.new(0)
        outlet.waiting = true
        outlet.turn:wait(TURN_TIMEOUT)
    end
end

--- Send backend bytes as one binary message; one thread only.
-- @param payload pointer to the bytes, with encoder.LONGEST_HEADER bytes of room before it; free again when this
-- returns or yields
-- @return true, or nil and "closing", "timeout" or the socket's error
function _M.data(outlet, payload, length)
    local size = length + prepend_header(payload, length)
    local frame = payload + length - size
    local copy = outlet.writing and ffi_string(frame, size)
    if copy then
        await_turn(outlet)
    end
    if outlet.closed or outlet.broken then
        return nil, outlet.broken or "closing"
    end
    local ok, err = true, nil
    local sent = not copy and outlet.ssl and write_tls(outlet.ssl, frame, size) or 0
    if sent < size then
        outlet.pending = length
        ok, err = write(outlet, copy or ffi_string(frame + sent, size - sent))
    end
    if ok then
        outlet.pending = 0
        outlet.bytes = outlet.bytes + length
        outlet.frames = outlet.frames + 1
    end
    return ok, err
end

--- Send a ping or pong as soon as no frame is under way. Does not wait for another writer.
function _M.control(outlet, bytes)
    if outlet.closed or outlet.broken then
        return nil, outlet.broken or "closing"
    elseif not outlet.writing then
        return write(outlet, bytes)
    end
    local backlog = outlet.backlog
    outlet.backlog = backlog and #backlog + #bytes <= LONGEST_BACKLOG and backlog .. bytes or bytes
    return true
end

--- Send the close frame, the last of the session. Does not wait for another writer: see flushed().
function _M.close(outlet, code, reason)
    if outlet.closed or outlet.broken then
        return
    end
    outlet.closed = true
    local bytes = encoder.close(code, reason)
    outlet.tail = #bytes + RECORD_OVERHEAD
    if outlet.writing then
        outlet.backlog = (outlet.backlog or "") .. bytes
    else
        write(outlet, bytes)
    end
end

--- Has the close frame left for the kernel?
function _M.flushed(outlet)
    return outlet.closed and not outlet.writing and not outlet.broken
end

--- Tell the client, which has the close frame, that it was all. Its own bytes may still come.
function _M.half_close(outlet)
    if outlet.ssl and _M.flushed(outlet) then
        direct.half_close_tls(outlet.ssl)
    end
end

local function queued(outlet)
    return outlet.fd and direct.unacknowledged(outlet.fd) or 0
end

--- Bytes of messages that were written, but which the client's machine has not said to have.
function _M.unread(outlet)
    return max(0, min(queued(outlet) - outlet.tail, outlet.bytes))
end

--- What the client has still to take, in bytes, the frame that is being written included; 0 when it has everything.
function _M.left(outlet)
    return (outlet.writing and outlet.pending + 1 or 0) + queued(outlet)
end

--- Can the client take no more, because the connection is over or we could not write?
function _M.is_over(outlet)
    return outlet.broken or outlet.fd and direct.is_over(outlet.fd)
end

return _M
