-- What all workers know of the sessions of this machine, in shared memory that nothing is evicted from: how many an
-- address and a subject have, whose they are, until when they may live, and which an operator wants to end.
--
-- Counts, and lists of whose the sessions are, are kept by worker, under a number that each draws when it starts: that
-- worker alone changes them. A worker that dies takes its numbers with it: the others stop adding them up as soon
-- as they see that its process is gone. A number without a process is one that was drawn this moment, by a worker about
-- to enter itself.
--
-- What may change about a session is entered with it, in entries that keep their size: a full memory refuses new
-- sessions, and the open ones can still be extended, ended and forgotten.
--
--   w:<worker>                  its process
--   n:<worker>:<name>           how many connections it has of that name
--   u:<worker>:<owner>:<index>  the id of one of the owner's sessions there; indexes go from 1 without a gap
--   i:<id>                      a session, in JSON
--   x:<id>                      until when it may live
--   e:<id>                      whether it is to end: CLOSED, ORDERED, both or none, added up

local cjson = require("cjson.safe")
local ffi = require("ffi")

local ngx = ngx

ffi.cdef([[int secure_proxy_kill(int pid, int signal) __asm__("kill");]])

local _M = {}

local PRUNE_S = 15
local ESRCH = 3
local GONE = 0 -- stands for the process of a number whose worker has died
local CLOSED, ORDERED = 1, 16 -- there may be several orders
-- Room for some hundred sessions; below it new ones may be refused at any moment.
local LEAST_FREE_BYTES = 65536

local slot
local is_entered = false
local owners = {} -- of this worker's sessions: ids by owner, in the order of the shared list
local places = {} -- owner and index by id

local function dictionary()
    return ngx.shared.sessions
end

local function count_key(worker, name)
    return "n:" .. worker .. ":" .. name
end

local function place_key(worker, owner, index)
    return "u:" .. worker .. ":" .. owner .. ":" .. index
end

-- Of one size, however long the names are.
local function owner_of(issuer, subject)
    return ngx.sha1_bin(issuer .. "\0" .. subject)
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

local function forget_session(id)
    local shared = dictionary()
    shared:delete("i:" .. id)
    shared:delete("x:" .. id)
    shared:delete("e:" .. id)
end

local function forget_worker(number)
    local shared = dictionary()
    shared:safe_set("w:" .. number, GONE)
    local counts, lists = count_key(number, ""), "u:" .. number .. ":"
    for _, key in ipairs(shared:get_keys(0)) do
        if key:sub(1, #counts) == counts or key:sub(1, #lists) == lists then
            shared:delete(key)
        elseif key:sub(1, 2) == "i:" then
            local record = cjson.decode(shared:get(key) or "")
            if record and record.worker == number then
                forget_session(key:sub(3))
            end
        end
    end
end

local function prune(premature)
    local shared = dictionary()
    if premature then
        return
    end
    -- Two at a time do no harm, so a memory too full for the mark is no hindrance.
    local _, err = shared:safe_add("pruning", true, PRUNE_S)
    if err == "exists" then
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
        shared:safe_set("first", first)
        for number = before, first - 1 do
            shared:delete("w:" .. number)
        end
    end
    shared:delete("pruning")
end

-- Enters this worker. Where there is no memory for it, that is tried again with each session, and until it succeeds
-- there are none.
local function enter_worker()
    if not is_entered then
        local ok, err = dictionary():safe_set("w:" .. slot, ngx.worker.pid())
        if not ok then
            return nil, err
        end
        is_entered = true
    end
    return true
end

--- Runs in init_worker.
function _M.start_worker()
    local shared = dictionary()
    for name, value in pairs({ first = 1, last = 0, orders = 0 }) do
        shared:safe_add(name, value)
    end
    slot = assert(shared:incr("last", 1))
    local ok, err = enter_worker()
    if not ok then
        ngx.log(ngx.ERR, "this worker cannot be entered in the registry: ", err)
    end
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
-- @return true if it was counted: then release() must be called once; else false, and the reason if it is not the limit
function _M.acquire(name, limit)
    local ok, err = enter_worker()
    if not ok then
        return false, err
    end
    local shared, key = dictionary(), count_key(slot, name)
    shared:safe_add(key, 0)
    -- Without memory for another name there is no count, and without a count no session.
    if not shared:incr(key, 1) then
        return false, "no memory"
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

-- A token without a subject names nobody, so its session is in nobody's list.
local function enter_list(record)
    if not record.subject then
        return true
    end
    local owner = owner_of(record.issuer, record.subject)
    local ids = owners[owner] or {}
    local index = #ids + 1
    local ok, err = dictionary():safe_set(place_key(slot, owner, index), record.id)
    if not ok then
        return nil, err
    end
    owners[owner] = ids
    ids[index] = record.id
    places[record.id] = { owner = owner, index = index }
    return true
end

-- The last one takes the place.
local function leave_list(id)
    local place = places[id]
    if not place then
        return
    end
    places[id] = nil
    local shared, ids = dictionary(), owners[place.owner]
    local count = #ids
    if place.index < count then
        local last = ids[count]
        shared:safe_set(place_key(slot, place.owner, place.index), last)
        ids[place.index] = last
        places[last].index = place.index
    end
    shared:delete(place_key(slot, place.owner, count))
    ids[count] = nil
    if count == 1 then
        owners[place.owner] = nil
    end
end

--- Enters a session that is about to open.
-- @param record { id, subject or nil, issuer, client, route, opened_at, expires_at }
-- @return true: then leave() must be called once; or nil and the reason, and then nothing is entered
function _M.enter(record)
    local shared = dictionary()
    record.worker = slot
    local ok, err = enter_worker()
    if ok then
        ok, err = shared:safe_set("i:" .. record.id, cjson.encode(record))
    end
    if ok then
        ok, err = shared:safe_set("x:" .. record.id, record.expires_at)
    end
    if ok then
        ok, err = shared:safe_set("e:" .. record.id, 0)
    end
    if ok then
        ok, err = enter_list(record)
    end
    if not ok then
        forget_session(record.id)
        return nil, err
    end
    return true
end

--- Removes a session that has ended.
function _M.leave(id)
    forget_session(id)
    leave_list(id)
end

--- It is decided that the session ends: it can no longer be extended.
function _M.close(id)
    dictionary():incr("e:" .. id, CLOSED)
end

--- @return the session's record with its present `expires_at`, and `closed` if it is about to end; or nil
function _M.find(id)
    local shared = dictionary()
    local text = shared:get("i:" .. id)
    if not text then
        return nil
    end
    local record = cjson.decode(text)
    record.expires_at = shared:get("x:" .. id) or record.expires_at
    record.closed = (shared:get("e:" .. id) or CLOSED) % ORDERED > 0 or nil
    return record
end

--- The sessions of a subject, at most `most` of them.
function _M.sessions_of(issuer, subject, most)
    local shared, owner = dictionary(), owner_of(issuer, subject)
    local found = {}
    each_worker(function(number)
        local index = 1
        local id = shared:get(place_key(number, owner, index))
        while id and #found < most do
            found[#found + 1] = _M.find(id)
            index = index + 1
            id = shared:get(place_key(number, owner, index))
        end
    end)
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
    if not record or record.closed then
        return nil
    end
    if expires_at <= record.expires_at then
        return record.expires_at
    end
    return dictionary():replace("x:" .. id, expires_at) and expires_at
end

--- Asks whoever serves the session to end it.
-- @return true if it is known
function _M.order_end(id)
    local shared = dictionary()
    return shared:incr("e:" .. id, ORDERED) ~= nil and shared:incr("orders", 1) ~= nil
end

--- How many orders there have been: whoever sees it change asks is_ordered_to_end() about its sessions.
function _M.orders()
    return dictionary():get("orders")
end

function _M.is_ordered_to_end(id)
    return (dictionary():get("e:" .. id) or 0) >= ORDERED
end

--- @return whether there is memory for more sessions
function _M.has_room()
    return dictionary():free_space() >= LEAST_FREE_BYTES
end

return _M
