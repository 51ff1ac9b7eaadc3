--- From the backend to the client: read, frame, send.
--
-- Whatever is at hand goes out at once, as one message; nothing is held back to fill a larger one. What the backend
-- sends while the client is slow gathers in the kernel and goes as fewer, larger messages, up to a bound.

local ffi = require("ffi")
local close_codes = require("secure_proxy.ws.close_codes")
local direct = require("secure_proxy.ws.direct")
local encoder = require("secure_proxy.ws.encoder")
local outlet = require("secure_proxy.ws.outlet")
local verdict = require("secure_proxy.ws.verdict")

local ngx = ngx
local now = ngx.now
local copy = ffi.copy
local receive = direct.receive
local send_message = outlet.data

local LONGEST_MESSAGE = 65532 -- with its header, four full TLS records

-- One buffer serves all sessions of the worker: what is in it is used up when a thread yields. The payload's address is
-- computed where it is needed, because a pointer alone does not keep the buffer from being collected.
local ROOM = encoder.LONGEST_HEADER
local buffer = ffi.new("uint8_t[?]", ROOM + LONGEST_MESSAGE)

local _M = {}

-- Send the `length` bytes after the header's room. Returns false when no more can be sent.
local function deliver(session, length)
    session.heard_at = now()
    local sent, err = send_message(session.outlet, buffer + ROOM, length)
    if sent then
        return true
    elseif err == "closing" then
        return not session.fd -- the cosocket alone can throw away what more comes over TLS
    else
        session.client_lost = true
        local reason = err == "timeout" and "client does not read" or "client connection lost: " .. err
        verdict.pass(session, close_codes.ABNORMAL, reason, 0)
    end
    return false
end

local function backend_lost(session)
    verdict.cut(session, close_codes.INTERNAL_ERROR, "backend connection lost")
    return false
end

-- Deliver what the cosocket brought and all that can be read directly after it. Returns false at the end.
local function deliver_all(session, chunk)
    local payload = buffer + ROOM
    local length = #chunk
    copy(payload, chunk, length)
    local fd = session.fd
    -- Less than the cosocket's buffer: the connection is empty. As much as was asked for: there may be more in the
    -- buffer.
    if not fd or length < direct.COSOCKET_BUFFER or length == LONGEST_MESSAGE then
        return deliver(session, length)
    end
    local turns = 0
    repeat
        local got = receive(fd, payload + length, LONGEST_MESSAGE - length)
        length = length + (got or 0)
        local full = length == LONGEST_MESSAGE
        if length > 0 and not deliver(session, length) then
            return false
        elseif not got then
            return backend_lost(session)
        end
        turns = turns + 1
        if turns == direct.TURNS then
            turns = 0
            ngx.sleep(direct.REST_SECONDS)
        end
        length = 0
    until not full
    return true
end

--- Pump until the backend has ended, failed, or the client takes no more.
function _M.run(session)
    local backend = session.backend
    local more
    repeat
        more = false
        local chunk, err = backend:receiveany(LONGEST_MESSAGE)
        if chunk then
            more = deliver_all(session, chunk)
        elseif err == "timeout" then
            more = true -- the backend may be silent for as long as it likes
        elseif err ~= "closed" then
            backend_lost(session)
        elseif session.lost_up > 0 then
            verdict.cut(session, close_codes.INTERNAL_ERROR, "backend ended with data unread")
        else
            verdict.pass(session, close_codes.NORMAL, "backend ended", verdict.CLOSE_SECONDS)
        end
    until not more
end

return _M
