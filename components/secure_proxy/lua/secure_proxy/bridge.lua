--- The bridge: WebSocket on the client's side, a plain TCP stream on the backend's.
--
-- run() is the content handler of the WSS listener, called for a request that may pass. The backend is connected
-- before the upgrade is accepted, so that a backend that is not there is an HTTP error, which every client understands.

local semaphore = require("ngx.semaphore")
local close_codes = require("secure_proxy.ws.close_codes")
local drain = require("secure_proxy.drain")
local handshake = require("secure_proxy.ws.handshake")
local refusals = require("secure_proxy.refusal")
local session_module = require("secure_proxy.ws.session")

local ngx = ngx

local _M = {}

local function refuse(status, reason, headers)
    refusals.note("bridge", reason)
    ngx.status = status
    for name, value in pairs(headers or {}) do
        ngx.header[name] = value
    end
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Cache-Control"] = "no-store"
    ngx.print('{"error":"', reason, '"}\n')
    return ngx.exit(status)
end

local function connect(options)
    local backend = ngx.socket.tcp()
    backend:settimeouts(options.connect_timeout_ms, options.send_timeout_ms, options.read_timeout_ms)
    -- A connection carries one session, so it never comes from the pool of kept-alive ones, nor goes there.
    local ok, err = backend:connect(options.backend_host, options.backend_port)
    if ok and options.prepare_backend then
        ok, err = options.prepare_backend(backend)
        if not ok then
            backend:close()
        end
    end
    return ok and backend, err
end

local function finish(session, options, orderly)
    drain.leave(session)
    session.duration = session.duration or ngx.now() - session.started_at
    for name, lost in pairs({ client = session.lost_up, backend = session.lost_down }) do
        if lost > 0 then
            ngx.log(ngx.WARN, lost, " bytes from the ", name, " were not delivered: ", session.reason)
        end
    end
    if options.on_close then
        options.on_close(session)
    end
    -- OK lingers: the close frame must not be overtaken by a reset for bytes that the client was still sending.
    return ngx.exit(orderly and ngx.OK or 444)
end

-- Whoever answers for the session may still refuse it; nothing of it has happened yet.
local function accept(backend, options)
    if not options.on_accept or options.on_accept() then
        return true
    end
    drain.release()
    backend:close()
    return false
end

-- Serve a session that has begun, to its end.
local function serve(session, agreed, options)
    if options.on_open then
        options.on_open(session)
    end
    local sent, err = session.client:send(handshake.accept(agreed, options.response_headers))
    if not sent then
        session.code, session.reason = close_codes.ABNORMAL, "client connection lost: " .. err
        session.backend:close()
        return false
    end
    return session_module.run(session)
end

--- Called once in each worker (init_worker).
function _M.start_worker()
    drain.start()
end

--- Serve one WebSocket session; returns when it has ended.
-- @param options table:
--   backend_host, backend_port;
--   prepare_backend(socket): called when the backend is connected, returns true, or nil and the reason; or nil;
--   backend_tls: whether it made the connection a TLS one;
--   connect_timeout_ms, read_timeout_ms, send_timeout_ms;
--   limits: drain_timeout_ms, max_session_age_ms, max_frame_size, max_message_size (bytes), control_frames_per_second,
--     sessions_per_worker (each 0 or nil: no limit), allowed_origins (list, empty: any);
--   expires_at: seconds since 1970 at which the session is cut with 4401, or nil;
--   renewed_until(): asked at that moment, returns a later one if a fresh token came; or nil;
--   response_headers: further fields of the 101 response, or nil;
--   on_accept(): called when the upgrade can be accepted, before the client hears of it; false refuses it with 503;
--   on_open(session), on_verdict(session), on_left(session), on_close(session): called when the upgrade is accepted,
--     when it is decided that the session ends, when it has ended for the client (the backend may still be busy with
--     what was sent), and when it has ended; see session.run() for the fields. They must not fail or yield.
function _M.run(options)
    local agreed, refusal = handshake.check(handshake.request(), options.limits and options.limits.allowed_origins)
    if not agreed then
        return refuse(refusal.status, refusal.reason, refusal.headers)
    end
    if not drain.admit(options.limits and options.limits.sessions_per_worker or 0) then
        return refuse(503, "too many sessions", { ["Retry-After"] = "5" })
    end
    local backend, unreachable = connect(options)
    if not backend then
        drain.release()
        ngx.log(ngx.ERR, "backend ", options.backend_host, ":", options.backend_port, ": ", unreachable)
        if unreachable == "timeout" then
            return refuse(504, "the application did not answer in time")
        end
        return refuse(502, "the application cannot be reached")
    end

    if not accept(backend, options) then
        return refuse(503, "the session cannot be recorded", { ["Retry-After"] = "5" })
    end

    ngx.status = ngx.HTTP_SWITCHING_PROTOCOLS -- for the access log: the raw socket bypasses NGINX's own response
    local client, err = ngx.req.socket(true)
    if not client then
        drain.release()
        backend:close()
        ngx.log(ngx.ERR, "no raw request socket: ", err)
        return ngx.exit(444)
    end
    local session = session_module.new(options, client, backend, semaphore.new(0))
    drain.enter(session)
    local ok, orderly = pcall(serve, session, agreed, options)
    if not ok then
        ngx.log(ngx.ERR, "the session failed: ", orderly)
        session.code, session.reason = session.code or close_codes.INTERNAL_ERROR, session.reason or "internal error"
    end
    return finish(session, options, ok and orderly)
end

return _M
