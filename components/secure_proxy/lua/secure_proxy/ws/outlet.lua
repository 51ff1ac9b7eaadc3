--- The way to the client: whole frames, one writer at a time.
--
-- Backend data come from one thread, pongs from another, pings and the close frame from a third. A frame that finds the
-- socket taken is left with the writer, who sends it between two frames of its own: a pong thus overtakes data that
-- wait for a slow client, and never tears a frame.

local semaphore = require("ngx.semaphore")
local encoder = require("secure_proxy.ws.encoder")

local header = encoder.header

-- Pongs kept for a client that does not read. Beyond it the older ones go: only the latest ping needs an answer (RFC
-- 6455, section 5.5.3).
local LONGEST_BACKLOG = 4096
local TURN_TIMEOUT = 3600 -- seconds; the socket's own send timeout ends the wait long before

local _M = {}

-- send() copies before it yields, so one table serves every session of the worker.
local frame = {}

--- An outlet to a connected client socket.
-- @param idle semaphore posted once when the close frame has left, or cannot leave
function _M.new(socket, idle)
    return {
        socket = socket,
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

--- Send backend bytes as one binary message; one thread only.
-- @return true, or nil and "closing", "timeout" or the socket's error
function _M.data(outlet, bytes)
    while outlet.writing do
        outlet.turn = outlet.turn or semaphore.new(0)
        outlet.waiting = true
        outlet.turn:wait(TURN_TIMEOUT)
    end
    if outlet.closed or outlet.broken then
        return nil, outlet.broken or "closing"
    end
    local length = #bytes
    frame[1], frame[2] = header(length), bytes
    outlet.bytes = outlet.bytes + length
    outlet.frames = outlet.frames + 1
    return write(outlet, frame)
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
