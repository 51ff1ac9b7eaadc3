--- Ending a worker's sessions when it is told to quit (reload or graceful stop).
--
-- NGINX has no "worker is leaving" event for Lua, but it expires all pending timers early then: one far-off timer a
-- worker is the alarm. Each session is given a moment of its own within the drain time, so that the clients'
-- reconnections don't arrive all at once.

local ngx = ngx

local random = math.random

local ALARM_SECONDS = 3600

local _M = {}

local sessions = {}
local count = 0
local leaving = false
local armed = false

local function schedule(session)
    session.leaves_at = ngx.now() + random() * session.limits.drain_timeout_ms / 1000
    session.wake:post(1)
end

local function alarm(premature)
    armed = false
    if not premature then
        return _M.start()
    end
    leaving = true
    for session in pairs(sessions) do
        schedule(session)
    end
end

--- Arm the alarm; for init_worker. Harmless when it is armed already.
function _M.start()
    if armed then
        return
    end
    local ok, err = ngx.timer.at(ALARM_SECONDS, alarm)
    if ok then
        armed = true
    elseif ngx.worker.exiting() then
        leaving = true
    else
        ngx.log(ngx.ERR, "sessions of this worker will not be told of a shutdown: ", err)
    end
end

--- Take a place for a session that is about to begin; leave() or release() gives it back.
-- @param limit how many the worker may have, 0 for any number
-- @return false if it has as many
function _M.admit(limit)
    if limit > 0 and count >= limit then
        return false
    end
    count = count + 1
    return true
end

--- Give back the place of a session that did not begin.
function _M.release()
    count = count - 1
end

--- Enter a session that has begun: a table with `wake` (semaphore) and `limits.drain_timeout_ms`. On drain its
-- `leaves_at` is set, in ngx.now() seconds, and `wake` posted.
function _M.enter(session)
    _M.start()
    sessions[session] = true
    if leaving then
        schedule(session)
    end
end

--- Remove a session that has ended.
function _M.leave(session)
    if sessions[session] then
        sessions[session] = nil
        count = count - 1
    end
end

return _M
