-- What this instance was told at boot: one JSON file, read once before the workers start.
-- Written and validated by /usr/libexec/secure-proxy/configure.

local cjson = require("cjson.safe")

local _M = {}

local REQUIRED = { "backend", "timeouts_ms", "authentication", "limits" }

--- Loads the file; every other module reads the fields of this one afterwards.
-- @param path inside the jail
-- Raises when the file cannot be used: NGINX then does not start, which is what a proxy without rules must do.
function _M.load(path)
    local file, err = io.open(path, "r")
    if not file then
        error("secure proxy configuration cannot be read: " .. err)
    end
    local text = file:read("*a")
    file:close()

    local values
    values, err = cjson.decode(text)
    if type(values) ~= "table" then
        error("secure proxy configuration " .. path .. " is not a JSON object: " .. tostring(err))
    end
    for _, key in ipairs(REQUIRED) do
        if type(values[key]) ~= "table" then
            error("secure proxy configuration " .. path .. " lacks the object '" .. key .. "'")
        end
        _M[key] = values[key]
    end
end

return _M
