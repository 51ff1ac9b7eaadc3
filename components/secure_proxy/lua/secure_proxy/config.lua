-- What this instance was told at boot: one JSON file, read once before the workers start, and the secrets beside it,
-- which only the master, still root, can read. Written and validated by /usr/libexec/secure-proxy/configure.

local cjson = require("cjson.safe")
local ssl = require("ngx.ssl")

local _M = { credentials = {} }

local REQUIRED = { "backend", "timeouts_ms", "authentication", "limits" }

local function read(path)
    local file, err = io.open(path, "r")
    if not file then
        error("secure proxy configuration cannot be read: " .. err)
    end
    local text = file:read("*a")
    file:close()
    return text
end

-- A client certificate and its key for connections that the proxy makes; the key stays in the workers' memory.
local function credentials(directory, name)
    local chain = assert(ssl.parse_pem_cert(read(directory .. "/" .. name .. "-client.pem")))
    local key = assert(ssl.parse_pem_priv_key(read(directory .. "/" .. name .. "-client-key.pem")))
    return { chain = chain, key = key }
end

--- Loads the files; every other module reads the fields of this one afterwards.
-- @param path the JSON file, inside the jail
-- @param secrets the directory that root alone can read, inside the jail
-- @param audit_log the file that secure_proxy.audit writes
-- Raises when something cannot be used: NGINX then does not start, which is what a proxy without rules must do.
function _M.load(path, secrets, audit_log)
    local values, err = cjson.decode(read(path))
    if type(values) ~= "table" then
        error("secure proxy configuration " .. path .. " is not a JSON object: " .. tostring(err))
    end
    for _, key in ipairs(REQUIRED) do
        if type(values[key]) ~= "table" then
            error("secure proxy configuration " .. path .. " lacks the object '" .. key .. "'")
        end
        _M[key] = values[key]
    end
    _M.audit_log = audit_log
    _M.operator_key = read(secrets .. "/operator.key")
    if #_M.operator_key < 32 then
        error("the operator's key is too short")
    end
    if _M.backend.client_certificate then
        _M.credentials.backend = credentials(secrets, "backend")
    end
    if _M.authentication.oidc_client_certificate then
        _M.credentials.oidc = credentials(secrets, "oidc")
    end
end

return _M
