-- What is done once: in the master before the workers start, and in each worker when it does.

local audit = require("secure_proxy.audit")
local authentication = require("secure_proxy.auth")
local bridge = require("secure_proxy.bridge")
local sessions = require("secure_proxy.sessions")

local _M = {}

-- What requests enter our code by.
local ENTRANCES = { "access", "operator", "outcome", "readiness", "refusal", "session_api", "wss" }

--- Runs in init_by_lua: a module that cannot be loaded keeps NGINX from starting, instead of failing every request.
function _M.load_all()
    for _, name in ipairs(ENTRANCES) do
        require("secure_proxy." .. name)
    end
    authentication.load_provider()
    audit.look_at_end()
end

--- Runs in init_worker_by_lua.
function _M.start()
    sessions.start_worker()
    authentication.start_worker()
    bridge.start_worker()
end

return _M
