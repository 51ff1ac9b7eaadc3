-- What each worker does once when it starts.

local authentication = require("secure_proxy.auth")
local bridge = require("secure_proxy.bridge")

local _M = {}

--- Runs in init_worker_by_lua.
function _M.start()
    authentication.start_worker()
    bridge.start_worker()
end

return _M
