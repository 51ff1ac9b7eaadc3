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
local prepend_header = encoder.prepend_header
local write_tls = direct.write_tls

-- Pongs kept for a client that does not read. Beyond it the older ones go: only the latest ping needs an answer (RFC
-- 6455, section 5.5.3).
local LONGEST_BACKLOG = 4096
local TURN_TIMEOUT = 3600 -- seconds; the socket's own send timeout ends the wait long before

local _M = {}

--- An outlet to a connected client socket.
-- @param ssl its TLS connection, or nil
-- @param idle semaphore posted once when the close frame has left, or cannot leave
function _M.new(socket, ssl, idle)
    return {
        socket = socket,
        ssl = ssl,
        idle = idle,
        turn = false, -- semaphore, made when the data writer first has to wait
        backlog = false, -- control frames for the current writer to send
        writing = false,
        waiting = false,
        closed = false, -- the close frame was given; nothing may follow it
        broken = false, -- the error that ended the socket
        bytes = 0,
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
-- returns   or yields
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
    outlet.bytes = outlet.bytes + length
    outlet.frames = outlet.frames + 1
    if copy then
        return write(outlet, copy)
    end
    local sent = outlet.ssl and write_tls(outlet.ssl, frame, size) or 0
    if sent == size then
        return true
    end
    return write(outlet, ffi_string(frame + sent, size - sent))
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

return _M
