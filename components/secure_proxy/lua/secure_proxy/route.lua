-- Which route a request takes: a path and what it asks of tokens beyond their issuer's rules.

local config = require("secure_proxy.config")

local ngx = ngx

local _M = {}

local EVERYTHING = { path = "/", audiences = {}, scopes = {}, claims = {} }

local function covers(path, uri)
    if path:sub(-1) == "/" then
        return uri:sub(1, #path) == path
    end
    return uri == path or uri:sub(1, #path + 1) == path .. "/"
end

--- @return the route of the current request, or nil when routes are configured and none of them covers its path
function _M.current()
    local routes = config.authentication.routes
    if #routes == 0 then
        return EVERYTHING
    end
    -- The boot configuration sorts them, longest path first.
    for _, route in ipairs(routes) do
        if covers(route.path, ngx.var.uri) then
            return route
        end
    end
    return nil
end

--- @return the route of that path, or nil
function _M.named(path)
    for _, route in ipairs(config.authentication.routes) do
        if route.path == path then
            return route
        end
    end
    return path == EVERYTHING.path and #config.authentication.routes == 0 and EVERYTHING or nil
end

return _M
