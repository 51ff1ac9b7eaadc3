--- One session: a client's WebSocket joined to a backend's TCP connection, from the 101 to the end of both.
--
-- Three threads of the request share it. Two pump, one each way; a pump that finds its other side slow waits in
-- send(), reads nothing meanwhile, and TCP carries the pressure back. The controller sleeps until a pump ends or a
-- deadline comes, and alone decides how the session closes. Whoever ends the session first writes the verdict; later
-- ones don't change it.

local ffi = require("ffi")
local close_codes = require("secure_proxy.ws.close_codes")
local decoder = require("secure_proxy.ws.decoder")
local encoder = require("secure_proxy.ws.encoder")
local half_close = require("secure_proxy.ws.half_close")
local outlet = require("secure_proxy.ws.outlet")

local ngx = ngx
local now = ngx.now
local min, max, huge = math.min, math.max, math.huge
local cast, ffi_string = ffi.cast, ffi.string
local decode = decoder.decode
local MORE, PING, PONG, CLOSE = decoder.MORE, decoder.PING, decoder.PONG, decoder.CLOSE

local LONGEST_READ = 65536
local FOREVER_MS = 2 ^ 31 - 1
local IDLE_SECONDS = 3600 -- longest sleep of a controller without a deadline
local CLOSE_SECONDS = 5 -- for the client to answer our close frame
-- A client that closed may still be owed what the backend was about to say.
local LAST_WORDS_SECONDS, LAST_WORDS_QUIET_SECONDS = 2, 0.5

local const_bytes = ffi.typeof("const uint8_t *")
-- Unmasked data stay here only between decode() and the copy handed to send(); no thread switch lies between.
local unmasked = ffi.new("uint8_t[?]", LONGEST_READ)

local _M = {}

-- End the session, unless something else has: `code` and `reason` are for the close frame and the log, `patience` is
-- how many seconds the client's close frame is awaited.
local function conclude(session, code, reason, patience)
    if not session.code then
        session.code, session.reason, session.patience = code, reason, patience
    end
    session.wake:post(1)
end

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

-- Hand unmasked bytes to the backend. After its connection failed, the client's bytes have nowhere to go; the pump
-- that reads from the backend will find out how it ended.
local function forward(session, bytes)
    if session.backend_deaf then
        session.bytes_lost = session.bytes_lost + #bytes
        return
    end
    local sent, err = session.backend:send(bytes)
    if sent then
        session.bytes_up = session.bytes_up + #bytes
        return
    end
    session.backend_deaf = true
    session.bytes_lost = session.bytes_lost + #bytes
    if err == "timeout" then
        conclude(session, close_codes.INTERNAL_ERROR, "backend does not read", CLOSE_SECONDS)
    end
end

-- Work through what one read brought. Returns true when nothing more may come from this client.
local function consume(session, chunk)
    local state = session.decoder
    local input, length = cast(const_bytes, chunk), #chunk
    local event
    local position, filled = 0, 0
    local pongs = false
    local flooded = false
    repeat
        event, position, filled = decode(state, input, position, length, unmasked, filled)
        if event == PING or event == PONG then
            if not count_control_frame(session) then
                flooded = true
                break
            elseif event == PING then
                local pong = encoder.pong(decoder.control_payload(state))
                pongs = pongs and pongs .. pong or pong
            end
        end
    until event ~= PING and event ~= PONG

    local bytes = filled > 0 and ffi_string(unmasked, filled)
    if pongs then
        outlet.control(session.outlet, pongs)
    end
    if bytes then
        forward(session, bytes)
    end
    if flooded then
        conclude(session, close_codes.POLICY_VIOLATION, "too many control frames", 0)
        return true
    elseif event == MORE then
        return false
    elseif event == CLOSE then
        session.client_code, session.client_reason = decoder.close_reason(state)
        session.client_closed = true
        half_close.send_side(session.backend)
        conclude(session, session.client_code or close_codes.NO_STATUS, "client closed", 0)
        return true
    end
    local code, reason = decoder.failure(state)
    conclude(session, code, reason, 0)
    return true
end

-- Client to backend. The client must show life: bytes of any kind within the read timeout, half of which brings our
-- ping.
local function pump_up(session)
    local client = session.client
    local asked = false
    repeat
        local ended = true
        local chunk, err = client:receiveany(LONGEST_READ)
        if chunk then
            asked = false
            ended = consume(session, chunk)
        elseif err ~= "timeout" then
            session.client_lost = true
            conclude(session, close_codes.ABNORMAL, "client connection lost: " .. err, 0)
        elseif asked then
            conclude(session, close_codes.INTERNAL_ERROR, "client is silent", 0)
        else
            asked = true
            outlet.control(session.outlet, encoder.ping(""))
            ended = false
        end
    until ended
    session.up_done = true
    session.wake:post(1)
end

-- Hand backend bytes to the client. Returns false when no more can be handed over.
local function deliver(session, bytes)
    local sent, err = outlet.data(session.outlet, bytes)
    if not sent and err ~= "closing" then
        session.client_lost = true
        local reason = err == "timeout" and "client does not read" or "client connection lost: " .. err
        conclude(session, close_codes.ABNORMAL, reason, 0)
    end
    return sent ~= nil
end

-- Backend to client. What the backend sends while the client is slow gathers in the kernel and is read as one larger
-- chunk.
local function pump_down(session)
    local backend = session.backend
    repeat
        local ended = true
        local chunk, err = backend:receiveany(LONGEST_READ)
        if chunk then
            session.last_words_at = now()
            ended = not deliver(session, chunk)
        elseif err == "timeout" then
            ended = false -- the backend may be silent for as long as it likes
        elseif err ~= "closed" then
            conclude(session, close_codes.INTERNAL_ERROR, "backend connection lost", CLOSE_SECONDS)
        elseif session.bytes_lost > 0 then
            conclude(session, close_codes.INTERNAL_ERROR, "backend ended with data unread", CLOSE_SECONDS)
        else
            conclude(session, close_codes.NORMAL, "backend ended", CLOSE_SECONDS)
        end
    until ended
    session.down_done = true
    session.wake:post(1)
end

-- Sleep until somebody wakes the controller or the given time (ngx.now() seconds) comes.
local function sleep_until(session, time)
    session.wake:wait(max(0.001, min(time - now(), IDLE_SECONDS)))
end

local function await_verdict(session)
    while not session.code do
        local time = now()
        if session.expires_at <= time then
            conclude(session, close_codes.TOKEN_EXPIRED, "token expired", CLOSE_SECONDS)
        elseif session.ends_at <= time then
            conclude(session, close_codes.GOING_AWAY, "session age limit", CLOSE_SECONDS)
        elseif session.leaves_at <= time then
            conclude(session, close_codes.GOING_AWAY, "server is going away", CLOSE_SECONDS)
        else
            sleep_until(session, min(session.expires_at, session.ends_at, session.leaves_at))
        end
    end
end

-- The client closed: what the backend still has to say goes first, our own close frame ends it.
local function await_last_words(session)
    local closed_at = now()
    session.last_words_at = closed_at
    while not session.down_done do
        local deadline = min(closed_at + LAST_WORDS_SECONDS, session.last_words_at + LAST_WORDS_QUIET_SECONDS)
        if deadline <= now() then
            return
        end
        sleep_until(session, deadline)
    end
end

local function say_goodbye(session)
    if session.client_closed then
        await_last_words(session)
        outlet.close(session.outlet, session.client_code, session.client_reason)
    else
        outlet.close(session.outlet, session.code, session.reason)
    end
    local patience = now() + max(session.patience, 1)
    while not outlet.flushed(session.outlet) and not session.outlet.broken and now() < patience do
        sleep_until(session, patience)
    end
    if session.patience > 0 then
        while not session.up_done and now() < patience do
            sleep_until(session, patience)
        end
    end
end

--- A session about to begin.
-- @param options what bridge.run() was given
-- @param client raw request socket
-- @param backend connected cosocket
-- @param wake new semaphore
function _M.new(options, client, backend, wake)
    local limits = options.limits or {}
    local started_at = now()
    local max_age = (limits.max_session_age_ms or 0) / 1000
    return {
        client = client,
        backend = backend,
        wake = wake,
        outlet = outlet.new(client, wake),
        decoder = decoder.new(limits),
        limits = limits,
        started_at = started_at,
        expires_at = options.expires_at or huge,
        ends_at = max_age > 0 and started_at + max_age or huge,
        leaves_at = huge,
        bytes_up = 0,
        bytes_down = 0,
        bytes_lost = 0, -- taken from the client and refused by the backend
        frames_up = 0,
        frames_down = 0,
        duration = 0,
        control_since = started_at,
        control_frames = 0,
    }
end

--- Run a session to its end. Afterwards `code`, `reason`, `bytes_up`, `bytes_down`, `frames_up`, `frames_down` and
-- `duration` (seconds) tell what it was.
-- @return true if the client's connection can be closed in an orderly way, false if it is to be dropped
function _M.run(session, options)
    session.client:settimeouts(options.connect_timeout_ms, options.send_timeout_ms, options.read_timeout_ms / 2)
    session.backend:settimeouts(options.connect_timeout_ms, options.send_timeout_ms, FOREVER_MS)
    local up = ngx.thread.spawn(pump_up, session)
    local down = ngx.thread.spawn(pump_down, session)
    await_verdict(session)
    if not session.client_lost then
        say_goodbye(session)
    end
    ngx.thread.kill(up)
    ngx.thread.kill(down)
    session.backend:close()

    session.bytes_down, session.frames_down = session.outlet.bytes, session.outlet.frames
    session.frames_up = session.decoder.frames
    session.duration = now() - session.started_at
    return outlet.flushed(session.outlet)
end

return _M
