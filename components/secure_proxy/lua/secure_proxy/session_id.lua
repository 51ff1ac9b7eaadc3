-- Names of sessions. The first characters name the machine, so that any machine behind a load balancer can tell a
-- session that has ended here from one that is somewhere else.

local config = require("secure_proxy.config")

local ngx = ngx

local _M = {}

local MACHINE_CHARACTERS = 8

-- The operator's key is what an instance has of its own from its first boot on; its digest tells nothing about it.
local digest = ngx.sha1_bin("machine of " .. config.operator_key)
local machine = digest:gsub(".", function(character)
    return string.format("%02x", character:byte())
end):sub(1, MACHINE_CHARACTERS)

--- @return the name that the current request's session has: 32 hexadecimal digits
function _M.of_request()
    return machine .. ngx.var.request_id:sub(MACHINE_CHARACTERS + 1)
end

--- @return whether a session of that name was opened on this machine
function _M.is_of_this_machine(id)
    return id:sub(1, MACHINE_CHARACTERS) == machine
end

return _M
