--- One session: a client's WebSocket joined to a backend's TCP connection, from the 101 to the end of both.
--
-- Three threads of the request share it. Uplink and downlink pump; one that finds its other side slow waits in send(),
-- reads nothing meanwhile, and TCP carries the pressure back. The controller, here, sleeps until a verdict is passed
-- or a deadline comes, and alone decides how the session is closed.

local close_codes = require("secure_proxy.ws.close_codes")
local decoder = require("secure_proxy.ws.decoder")
local direct = require("secure_proxy.ws.direct")
local downlink = require("secure_proxy.ws.downlink")
local outlet = require("secure_proxy.ws.outlet")
local uplink = require("secure_proxy.ws.uplink")
local verdict = require("secure_proxy.ws.verdict")

local ngx = ngx
local now = ngx.now
local min, max, huge = math.min, math.max, math.huge

local FOREVER_MS = 2 ^ 31 - 1
local IDLE_SECONDS = 3600 -- longest sleep of a controller without a deadline
-- A client that closed may still be owed what the backend was about to say.
local LAST_WORDS_SECONDS, QUIET_SECONDS = 2, 0.5
-- At the end of a session, who still takes bytes may go on: at least a page of them within each send timeout.
local LEAST_TAKEN = 4096
-- The kernel does not tell when a queue is empty, so it is asked, less and less often.
local FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.001, 0.1

local _M = {}

-- Sleep until somebody wakes the controller or the given time (ngx.now() seconds) comes.
local function sleep_until(session, time)
    session.wake:wait(max(0.001, min(time - now(), IDLE_SECONDS)))
end

-- A fresh token may have come meanwhile, through any worker.
local function is_expired(session, time)
    if session.expires_at <= time and session.renewed_until then
        session.expires_at = session.renewed_until() or session.expires_at
    end
    return session.expires_at <= time
end

-- Thread: run one of the pumps. The controller must learn of its end whatever ends it.
local function pump(run, session, done)
    local ok, err = pcall(run, session)
    if not ok then
        ngx.log(ngx.ERR, "a pump failed: ", err)
        verdict.stop_uplink(session)
        verdict.pass(session, close_codes.INTERNAL_ERROR, "internal error", 0)
    end
    session[done] = true
    session.wake:post(1)
end

-- Cut the session when its right to exist has ended.
local function enforce(session)
    local time = now()
    if is_expired(session, time) then
        verdict.cut(session, close_codes.TOKEN_EXPIRED, "token expired")
    elseif session.ends_at <= time then
        verdict.cut(session, close_codes.GOING_AWAY, "session age limit")
    end
end

local function await_verdict(session)
    while not session.code do
        enforce(session)
        if session.leaves_at <= now() then
            -- Nobody's right has ended: what the client sends until it closes still reaches the backend.
            verdict.pass(session, close_codes.GOING_AWAY, "server is going away", verdict.CLOSE_SECONDS)
        elseif not session.code then
            sleep_until(session, min(session.expires_at, session.ends_at, session.leaves_at))
        end
    end
end

-- Watches a queue that the other side empties: `left` bytes are in it now. Returns false when too little was taken.
local function is_taken(queue, left)
    local time = now()
    if queue.left - left >= LEAST_TAKEN then
        queue.left, queue.since = left, time
    end
    return time - queue.since < queue.timeout
end

local function watch(session)
    return { left = huge, since = now(), timeout = session.send_timeout }
end

-- The client closed or broke the protocol. Either way the backend has got all that came before; it is told that this
-- was all, and what it still has to say goes first. Our close frame ends it.
local function await_last_words(session)
    local closed_at = now()
    session.heard_at = closed_at
    while not session.down_done do
        local deadline = min(closed_at + LAST_WORDS_SECONDS, session.heard_at + QUIET_SECONDS)
        if deadline <= now() then
            return
        end
        sleep_until(session, deadline)
    end
end

-- Let the client have what is on its way to it, the close frame last, and then answer it.
-- Returns true when it has everything.
local function await_client(session)
    local way = session.outlet
    local queue, pause = watch(session), FIRST_LOOK_SECONDS
    local answered_by
    repeat
        if outlet.is_over(way) then
            return answered_by ~= nil or outlet.left(way) == 0
        elseif not session.backend_deaf then
            enforce(session)
        end
        local left = outlet.left(way)
        if left > 0 then
            if not is_taken(queue, left) then
                return false
            end
        else
            answered_by = answered_by or now() + session.patience
            if session.up_done or answered_by <= now() then
                return true
            end
        end
        sleep_until(session, now() + pause)
        pause = min(2 * pause, LAST_LOOK_SECONDS)
    until false
end

-- Close the WebSocket. Returns true when the client has all that it was sent.
local function say_goodbye(session)
    local code, reason = session.code, session.reason
    if session.uplink_ended then
        await_last_words(session)
    end
    if session.client_closed then
        code, reason = session.client_code, nil
    end
    -- In a thread of its own: it may have to wait for a slow client, and the session's time goes on.
    local closing = ngx.thread.spawn(outlet.close, session.outlet, code, reason)
    local told = await_client(session)
    ngx.thread.kill(closing)
    return told
end

local function left_for_backend(session)
    local queued = direct.unacknowledged(session.backend_fd)
    if session.half_closed and queued > 0 then
        queued = queued - 1 -- the end of the stream
    end
    return queued + session.pushing
end

-- The backend may be busy with what the client sent long ago. A connection that is closed with bytes unread is reset,
-- and a reset destroys what is still on its way, or keeps the backend from reading what has arrived. So what it says is
-- read, for nobody, until it has ended or fallen silent; one that goes on for ever is left after the send timeout. Over
-- TLS it cannot be told of the end before, so there only its machine is waited for.
local function await_backend(session)
    verdict.stop_uplink(session)
    local fd = session.backend_fd
    local queue, pause = watch(session), FIRST_LOOK_SECONDS
    while not direct.is_over(fd) do
        if session.fd and direct.discard(fd) > 0 then
            session.heard_at = now()
        end
        local left = left_for_backend(session)
        local busy = session.half_closed and session.bytes_up > 0 and now() - session.heard_at < QUIET_SECONDS
        if left == 0 and not busy or not is_taken(queue, left) then
            break
        end
        sleep_until(session, now() + pause)
        pause = min(2 * pause, LAST_LOOK_SECONDS)
    end
    local left = left_for_backend(session)
    session.lost_up = session.lost_up + left
    session.bytes_up = session.bytes_up - (left - session.pushing)
end

-- What has become of the bytes for the client.
local function sum_up(session, told)
    local way = session.outlet
    local unread = told and 0 or outlet.unread(way)
    session.bytes_down, session.frames_down = way.bytes - unread, way.frames
    session.lost_down = unread + way.pending
    session.frames_up = session.decoder.frames
    session.duration = now() - session.started_at
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
    local ssl = direct.client()
    client:settimeouts(options.connect_timeout_ms, options.send_timeout_ms, options.read_timeout_ms / 2)
    local backend_fd = direct.descriptor(backend)
    backend:settimeouts(options.connect_timeout_ms, options.send_timeout_ms, FOREVER_MS)
    return {
        client = client,
        ssl = ssl,
        backend = backend,
        backend_fd = backend_fd,
        -- Bytes of a TLS connection are the cosocket's business alone.
        fd = not options.backend_tls and backend_fd or nil,
        wake = wake,
        outlet = outlet.new(client, ssl, wake),
        decoder = decoder.new(limits),
        limits = limits,
        started_at = started_at,
        expires_at = options.expires_at or huge,
        renewed_until = options.renewed_until,
        on_verdict = options.on_verdict,
        on_left = options.on_left,
        send_timeout = options.send_timeout_ms / 1000,
        ends_at = max_age > 0 and started_at + max_age or huge,
        leaves_at = huge, -- set by secure_proxy.drain
        bytes_up = 0,
        bytes_down = 0,
        lost_up = 0, -- taken from the client and not delivered to the backend
        lost_down = 0, -- the other way round; known at the end
        bytes_lost = 0, -- both
        pushing = 0, -- bytes that wait for the backend
        heard_at = started_at, -- of the backend
        half_closed = false, -- the backend was told that no more will come
        frames_up = 0,
        frames_down = 0,
        header_bytes = 0,
        control_since = started_at,
        control_frames = 0,
    }
end

--- Run a session to its end. Afterwards `code`, `reason`, `bytes_up`, `bytes_down`, `frames_up`, `frames_down`,
-- `bytes_lost` and `duration` (seconds) tell what it was.
-- @return true if the client's connection can be closed in an orderly way, false if it is to be dropped
function _M.run(session)
    local up = ngx.thread.spawn(pump, uplink.run, session, "up_done")
    local down = ngx.thread.spawn(pump, downlink.run, session, "down_done")
    await_verdict(session)
    if session.on_verdict then
        session.on_verdict(session)
    end
    local told = not session.client_lost and say_goodbye(session)
    if told then
        outlet.half_close(session.outlet) -- not before it has the close frame: it may answer what follows with a reset
    end
    sum_up(session, told)
    if session.on_left then
        session.on_left(session)
    end
    await_backend(session)
    -- Not earlier: a cosocket is closed with a thread that waits for it.
    ngx.thread.kill(up)
    ngx.thread.kill(down)
    session.bytes_lost = session.lost_up + session.lost_down
    session.backend:close()
    session.fd, session.backend_fd = nil, nil -- numbers that the next connection may get
    return told
end

return _M
