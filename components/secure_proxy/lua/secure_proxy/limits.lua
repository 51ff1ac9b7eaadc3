-- Limits that are judged before a token is looked at: networks, and requests of one address in a window of time.

local bit = require("bit")
local config = require("secure_proxy.config")

local ngx = ngx
local byte = string.byte
local floor = math.floor

local _M = {}

-- Beyond its limits, one refusal of an address is logged in this time.
local LOG_INTERVAL_S = 1

-- IPv4 as a number from 0 to 2^32 - 1; nil for anything else.
local function number_of(address)
    if #address ~= 4 then
        return nil
    end
    local a, b, c, d = byte(address, 1, 4)
    return bit.lshift(a, 24) % 2 ^ 32 + b * 65536 + c * 256 + d
end

local function is_in(address, networks)
    for _, network in ipairs(networks) do
        if address >= network[1] and address <= network[2] then
            return true
        end
    end
    return false
end

--- Applies the lists of networks. A denied network wins over an allowed one.
-- @return true, or nil and the name of the rule
function _M.check_networks()
    local limits = config.limits
    if #limits.denied_networks == 0 and #limits.allowed_networks == 0 then
        return true
    end
    local address = number_of(ngx.var.binary_remote_addr)
    if not address or is_in(address, limits.denied_networks) then
        return nil, "limits.deniedNetworks"
    end
    if #limits.allowed_networks > 0 and not is_in(address, limits.allowed_networks) then
        return nil, "limits.allowedNetworks"
    end
    return true
end

--- Counts a request of the current address and judges the number of them in the window of time.
-- The window slides: the previous window counts for the part of it that is still inside (the usual approximation).
-- @param kind names the counter
-- @param limit requests a window, 0 for no limit
-- @return true or false
function _M.check_rate(kind, limit)
    if limit == 0 then
        return true
    end
    local window = config.limits.rate_window_s
    local now = ngx.now()
    local current = floor(now / window)
    local prefix = kind .. ":" .. ngx.var.binary_remote_addr .. ":"
    local rates = ngx.shared.rates
    -- When the dictionary is full, the addresses that were seen longest ago make room: those are not the busy ones.
    local count, err = rates:incr(prefix .. current, 1, 0, 2 * window)
    if not count then
        ngx.log(ngx.ERR, "requests cannot be counted: ", err)
        return false
    end
    local before = rates:get(prefix .. (current - 1)) or 0
    local share = 1 - (now / window - current)
    return count + before * share <= limit
end

--- Counts the current request as one of its listener's.
-- @return true or false, as check_rate()
function _M.check_request()
    return _M.check_rate(ngx.var.listener, config.limits.handshakes_per_address)
end

--- Whether to log a refusal of the current address, which is beyond its limits; counts it if not.
function _M.may_log()
    local rates, address = ngx.shared.rates, ngx.var.binary_remote_addr
    if rates:add("logged:" .. address, true, LOG_INTERVAL_S) then
        return true
    end
    rates:incr("unlogged:" .. address, 1, 0, 2 * config.limits.rate_window_s)
    return false
end

--- Takes the count of the current address's refusals that were not logged.
-- @return it, or nil when there were none
function _M.take_unlogged()
    local rates, key = ngx.shared.rates, "unlogged:" .. ngx.var.binary_remote_addr
    local count = rates:get(key)
    if count then
        rates:delete(key)
    end
    return count
end

return _M
