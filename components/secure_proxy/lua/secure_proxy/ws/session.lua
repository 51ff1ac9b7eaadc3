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
local CLOSE_SECONDS = 5 -- for the client to answer our close frame
local FLUSH_SECONDS = 1 -- for the client to take our close frame
-- A client that closed may still be owed what the backend was about to say.
local LAST_WORDS_SECONDS, LAST_WORDS_QUIET_SECONDS = 2, 0.5

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
        verdict.pass(session, close_codes.INTERNAL_ERROR, "internal error", 0)
    end
    session[done] = true
    session.wake:post(1)
end

local function await_verdict(session)
    while not session.code do
        local time = now()
        if is_expired(session, time) then
            verdict.pass(session, close_codes.TOKEN_EXPIRED, "token expired", CLOSE_SECONDS)
        elseif session.ends_at <= time then
            verdict.pass(session, close_codes.GOING_AWAY, "session age limit", CLOSE_SECONDS)
        elseif session.leaves_at <= time then
            verdict.pass(session, close_codes.GOING_AWAY, "server is going away", CLOSE_SECONDS)
        else
            sleep_until(session, min(session.expires_at, session.ends_at, session.leaves_at))
        end
    end
end

-- The client closed or broke the protocol. Either way the backend has got all that came before; it is told that this
-- was all, and what it still has to say goes first. Our close frame ends it.
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
    local way = session.outlet
    if session.uplink_ended then
        await_last_words(session)
    end
    if session.client_closed then
        outlet.close(way, session.client_code)
    else
        outlet.close(way, session.code, session.reason)
    end
    local flushed_by = now() + FLUSH_SECONDS
    while not outlet.flushed(way) and not way.broken and now() < flushed_by do
        sleep_until(session, flushed_by)
    end
    local answered_by = now() + session.patience
    while not session.up_done and not way.broken and now() < answered_by do
        sleep_until(session, answered_by)
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
    local ssl = direct.client()
    client:settimeouts(options.connect_timeout_ms, options.send_timeout_ms, options.read_timeout_ms / 2)
    backend:settimeouts(options.connect_timeout_ms, options.send_timeout_ms, FOREVER_MS)
    return {
        client = client,
        ssl = ssl,
        backend = backend,
        -- Bytes of a TLS connection are the cosocket's business alone.
        fd = not options.backend_tls and direct.descriptor(backend) or nil,
        wake = wake,
        outlet = outlet.new(client, ssl, wake),
        decoder = decoder.new(limits),
        limits = limits,
        started_at = started_at,
        expires_at = options.expires_at or huge,
        renewed_until = options.renewed_until,
        ends_at = max_age > 0 and started_at + max_age or huge,
        leaves_at = huge, -- set by secure_proxy.drain
        bytes_up = 0,
        bytes_down = 0,
        bytes_lost = 0, -- taken from the client and refused by the backend
        frames_up = 0,
        frames_down = 0,
        duration = 0,
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
