--- From the client to the backend: read, unmask, forward.

local ffi = require("ffi")
local close_codes = require("secure_proxy.ws.close_codes")
local decoder = require("secure_proxy.ws.decoder")
local direct = require("secure_proxy.ws.direct")
local encoder = require("secure_proxy.ws.encoder")
local outlet = require("secure_proxy.ws.outlet")
local verdict = require("secure_proxy.ws.verdict")

local ngx = ngx
local now = ngx.now
local copy, ffi_string = ffi.copy, ffi.string
local decode = decoder.decode
local append_pong = encoder.append_pong
local read_tls, send = direct.read_tls, direct.send
local MORE, PING, PONG, CLOSE = decoder.MORE, decoder.PING, decoder.PONG, decoder.CLOSE

local BUFFER_SIZE = 65536
-- NGINX may have read frames together with the request's header (though a client must await the 101 first). They come
-- through the cosocket, and nothing may be read around it before. They have come when it brings less than it has room
-- for, or more than any header buffer holds.
local LARGEST_HEADER_BUFFER = 1048576

-- One set of buffers serves all sessions of the worker: what is in them is used up when a thread yields.
local masked = ffi.new("uint8_t[?]", BUFFER_SIZE)
local unmasked = ffi.new("uint8_t[?]", BUFFER_SIZE)
local pongs = ffi.new("uint8_t[?]", BUFFER_SIZE) -- a pong is four bytes shorter than its ping

local _M = {}

local function count_control_frame(session)
    local limit = session.limits.control_frames_per_second or 0
    if limit == 0 then
        return true
    end
    local time = now()
    if time - session.control_since >= 1 then
        session.control_since, session.control_frames = time, 0
    end
    session.control_frames = session.control_frames + 1
    return session.control_frames <= limit
end

-- The backend takes no more, or is to get no more. The client's bytes have nowhere to go; how the backend ended, the
-- downlink will find out.
local function lose(session, length)
    session.backend_deaf = true
    session.lost_up = session.lost_up + length
end

-- Give `length` unmasked bytes to the kernel. Returns what it did not take, as a string, or nil.
local function push(session, length)
    if session.backend_deaf then
        lose(session, length)
        return nil
    elseif not session.fd then
        return ffi_string(unmasked, length)
    end
    local sent = send(session.fd, unmasked, length)
    if not sent then
        lose(session, length)
        return nil
    end
    session.bytes_up = session.bytes_up + sent
    return sent < length and ffi_string(unmasked + sent, length - sent) or nil
end

-- Wait until the backend has taken the rest. No more is read from the client meanwhile, so TCP carries the pressure
-- back.
local function push_rest(session, rest)
    session.pushing = #rest
    local sent, err = session.backend:send(rest)
    session.pushing = 0
    if sent then
        session.bytes_up = session.bytes_up + #rest
        if session.backend_deaf then
            verdict.stop_uplink(session) -- somebody could not while this was under way
        end
        return
    end
    lose(session, #rest)
    if err == "timeout" then
        verdict.cut(session, close_codes.INTERNAL_ERROR, "backend does not read")
    end
end

-- No more bytes will come from this client: because it closed, or because what it sent cannot be understood or borne.
local function end_stream(session, code, reason)
    session.uplink_ended = true
    verdict.stop_uplink(session)
    verdict.pass(session, code, reason, 0)
end

local function client_closed(session)
    local code, reason = decoder.close_reason(session.decoder)
    session.client_closed, session.client_code, session.client_reason = true, code, reason
    end_stream(session, code or close_codes.NO_STATUS, "client closed")
end

-- Work through `length` bytes of `masked`. Returns false when nothing more may come from this client.
local function consume(session, length)
    local state = session.decoder
    local event
    local position, filled, answered = 0, 0, 0
    local flooded = false
    repeat
        event, position, filled = decode(state, masked, position, length, unmasked, filled)
        if event == PING or event == PONG then
            flooded = not count_control_frame(session)
            if event == PING then
                answered = append_pong(pongs, answered, state.control, state.control_length)
            end
        end
    until flooded or event ~= PING and event ~= PONG

    local rest = filled > 0 and push(session, filled)
    if answered > 0 then
        outlet.control(session.outlet, ffi_string(pongs, answered))
    end
    if rest then
        push_rest(session, rest)
    end
    if flooded then
        end_stream(session, close_codes.POLICY_VIOLATION, "too many control frames")
    elseif event == CLOSE then
        client_closed(session)
    elseif event ~= MORE then
        end_stream(session, decoder.failure(state))
    end
    return event == MORE and not flooded
end

-- May more be read around the cosocket, after it brought `length` bytes?
local function may_continue(session, length)
    if not session.header_read then
        session.header_bytes = session.header_bytes + length
        session.header_read = length < direct.COSOCKET_BUFFER or session.header_bytes > LARGEST_HEADER_BUFFER
    end
    -- Less than the cosocket's buffer: the connection is empty. As much as was asked for: there may be more in the
    -- buffer.
    return session.header_read and length >= direct.COSOCKET_BUFFER and length < BUFFER_SIZE
end

-- Consume what the cosocket brought and all that can be read directly after it. Returns false at the end.
local function consume_all(session, chunk)
    local length = #chunk
    copy(masked, chunk, length)
    local ssl = session.ssl
    if not ssl or not may_continue(session, length) then
        return consume(session, length)
    end
    local turns = 0
    repeat
        length = length + read_tls(ssl, masked + length, BUFFER_SIZE - length)
        local full = length == BUFFER_SIZE
        if length > 0 and not consume(session, length) then
            return false
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

--- Pump until the client has closed, failed or gone.
-- The client must show life: bytes of any kind within the read timeout. Half of it without any brings our ping.
function _M.run(session)
    local client = session.client
    local asked = false
    local more
    repeat
        more = false
        local chunk, err = client:receiveany(BUFFER_SIZE)
        if chunk then
            asked = false
            more = consume_all(session, chunk)
        elseif err ~= "timeout" then
            session.client_lost = true
            verdict.pass(session, close_codes.ABNORMAL, "client connection lost: " .. err, 0)
        elseif asked then
            verdict.stop_uplink(session)
            verdict.pass(session, close_codes.INTERNAL_ERROR, "client is silent", 0)
        else
            asked = true
            outlet.control(session.outlet, encoder.ping())
            more = true
        end
    until not more
end

return _M
