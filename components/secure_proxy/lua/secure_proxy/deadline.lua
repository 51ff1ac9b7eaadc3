-- A bound on the whole of something that waits on a network. A cosocket's timeouts bound each single wait, so a peer
-- that sends a byte now and then keeps to all of them and never comes to an end.

local ngx = ngx
local spawn, wait, kill = ngx.thread.spawn, ngx.thread.wait, ngx.thread.kill

local _M = {}

--- Runs an action, and breaks it off when the time is over; the sockets that it waits on are closed.
-- @param seconds from now; nothing is begun when none are left
-- @param action(...) returns up to two values
-- @return those values, or nil and the reason
function _M.run(seconds, action, ...)
    if seconds <= 0 then
        return nil, "no time left"
    end
    local work = spawn(function(...)
        -- lua-resty-core raises an error where a TLS handshake fails in certain moments.
        local returned, result, reason = pcall(action, ...)
        if not returned then
            return nil, "connection failed"
        end
        return result, reason
    end, ...)
    local alarm = spawn(function()
        ngx.sleep(seconds)
        return nil, "too slow"
    end)
    local _, result, reason = wait(work, alarm)
    kill(work)
    kill(alarm)
    return result, reason
end

return _M
