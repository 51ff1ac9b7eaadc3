-- What all workers know of the sessions of this machine, in shared memory that nothing is evicted from: how many an
-- address and a subject have, whose they are, until when they may live, and which an operator wants to end.
--
-- Counts are kept by worker, under a number that each worker draws when it starts. A worker that dies takes its numbers
-- with it: the others stop adding them up as soon as they see that its process is gone. A number without a process is
-- one that was drawn this moment, by a worker about to enter itself.

local cjson = require("cjson.safe")
local ffi = require("ffi")

local ngx = ngx

ffi.cdef([[int secure_proxy_kill(int pid, int signal) __asm__("kill");]])

local _M = {}

local PRUNE_S = 15
local ESRCH = 3
local GONE = 0 -- stands for the process of a number whose worker has died

local slot

local function dictionary()
    return ngx.shared.sessions
end

local function count_key(worker, name)
    return "n:" .. worker .. ":" .. name
end

local function owner_key(issuer, subject)
    return "u:" .. (issuer or "") .. "\0" .. (subject or "")
end

local function is_alive(pid)
    return ffi.C.secure_proxy_kill(pid, 0) == 0 or ffi.errno() ~= ESRCH
end

local function each_worker(action)
    local shared = dictionary()
    for number = shared:get("first") or 1, shared:get("last") or 0 do
        local pid = shared:get("w:" .. number)
        if pid ~= GONE then
            action(number, pid)
        end
    end
end

local function forget_worker(number)
    local shared = dictionary()
    shared:safe_set("w:" .. number, GONE)
    local prefix = "n:" .. number .. ":"
    for _, key in ipairs(shared:get_keys(0)) do
        if key:sub(1, #prefix) == prefix then
            shared:delete(key)
        elseif key:sub(1, 2) == "i:" then
            local record = cjson.decode(shared:get(key) or "")
            if record and record.worker == number then
                shared:delete(key)
            end
        end
    end
end

local function prune(premature)
    local shared = dictionary()
    if premature or not shared:add("pruning", true, PRUNE_S) then
        return
    end
    local first
    each_worker(function(number, pid)
        if pid and not is_alive(pid) then
            forget_worker(number)
        else
            first = first or number
        end
    end)
    if first then
        local before = shared:get("first") or 1
        shared:set("first", first)
        for number = before, first - 1 do
            shared:delete("w:" .. number)
        end
    end
    shared:delete("pruning")
end

--- Runs in init_worker.
function _M.start_worker()
    local shared = dictionary()
    slot = assert(shared:incr("last", 1, 0))
    assert(shared:safe_set("w:" .. slot, ngx.worker.pid()))
    assert(ngx.timer.at(0, prune))
    assert(ngx.timer.every(PRUNE_S, prune))
end

local function total(name)
    local shared, sum = dictionary(), 0
    each_worker(function(number)
        sum = sum + (shared:get(count_key(number, name)) or 0)
    end)
    return sum
end

--- Counts one more session for `name` unless that would be more than `limit` on this machine.
-- @return true if it was counted: then release() must be called once
function _M.acquire(name, limit)
    local shared, key = dictionary(), count_key(slot, name)
    shared:safe_add(key, 0)
    -- Without memory for another name there is no count, and without a count no session.
    if not shared:incr(key, 1) then
        return false
    end
    if total(name) > limit then
        _M.release(name)
        return false
    end
    return true
end

--- Takes back what acquire() counted.
function _M.release(name)
    local shared, key = dictionary(), count_key(slot, name)
    local left = shared:incr(key, -1)
    if left and left <= 0 then
        shared:delete(key)
    end
end

--- Enters an open session.
-- @param record { id, subject, issuer, client, route, opened_at, expires_at }
function _M.enter(record)
    local shared = dictionary()
    record.worker = slot
    local ok, err = shared:safe_set("i:" .. record.id, cjson.encode(record))
    if ok then
        ok, err = shared:rpush(owner_key(record.issuer, record.subject), record.id)
        -- Ended sessions leave the owner's list when new ones come.
        _M.sessions_of(record.issuer, record.subject, 2)
    end
    if not ok then
        ngx.log(ngx.ERR, "session ", record.id, " cannot be extended or ended by id: ", err)
    end
end

--- Removes a session that has ended.
function _M.leave(id)
    local shared = dictionary()
    shared:delete("i:" .. id)
    shared:delete("x:" .. id)
end

--- @return the session's record with its present `expires_at`, or nil
function _M.find(id)
    local shared = dictionary()
    local text = shared:get("i:" .. id)
    if not text then
        return nil
    end
    local record = cjson.decode(text)
    record.expires_at = shared:get("x:" .. id) or record.expires_at
    return record
end

--- The sessions of a subject; walks over at most `most` of its list's entries and drops those that have ended.
function _M.sessions_of(issuer, subject, most)
    local shared, key = dictionary(), owner_key(issuer, subject)
    local found = {}
    for _ = 1, math.min(shared:llen(key) or 0, most or math.huge) do
        local id = shared:lpop(key)
        local record = id and _M.find(id)
        if record then
            shared:rpush(key, id)
            found[#found + 1] = record
        end
    end
    return found
end

--- Every session of this machine. Holds up other workers for a moment, so it is for operators alone.
function _M.all()
    local found = {}
    for _, key in ipairs(dictionary():get_keys(0)) do
        if key:sub(1, 2) == "i:" then
            found[#found + 1] = _M.find(key:sub(3))
        end
    end
    return found
end

--- Lets a session live until `expires_at`, if that is later than what it has.
-- @return the time until which it may live, or nil when it has ended
function _M.extend(id, expires_at)
    local record = _M.find(id)
    if not record then
        return nil
    end
    if not record.expires_at or expires_at <= record.expires_at then
        return record.expires_at
    end
    local ok, err = dictionary():safe_set("x:" .. id, expires_at)
    if not ok then
        ngx.log(ngx.ERR, "session ", id, " cannot be extended: ", err)
        return record.expires_at
    end
    return expires_at
end

--- Asks whoever serves the session to end it.
-- @return true if it is known
function _M.order_end(id)
    local shared = dictionary()
    if not shared:get("i:" .. id) then
        return false
    end
    shared:safe_set("e:" .. id, true, 60)
    shared:incr("orders", 1, 0)
    return true
end

--- How many orders there have been: whoever sees it change asks is_ordered_to_end() about its sessions.
function _M.orders()
    return dictionary():get("orders") or 0
end

function _M.is_ordered_to_end(id)
    return dictionary():get("e:" .. id) == true
end

return _M
