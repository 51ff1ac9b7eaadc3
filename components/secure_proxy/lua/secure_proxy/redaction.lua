-- Keeps the query string and the Referer out of NGINX's own error log lines, which quote both: clients put secrets
-- there, and nothing behind the WSS listener reads them.

local ffi = require("ffi")
local base = require("resty.core.base")

local ngx = ngx
local C = ffi.C

ffi.cdef([[
int secure_proxy_variable(void *request, const char *name, size_t length, char *lowercase, int capture, char **value,
    size_t *value_length, char **error) __asm__("ngx_http_lua_ffi_var_get");
]])

local NAME = "request"

local lowercase = ffi.new("char[?]", #NAME)
local value = ffi.new("char *[1]")
local length = ffi.new("size_t[1]")
local problem = ffi.new("char *[1]")

local _M = {}

--- Overwrites the query of the current request where NGINX keeps the request line. $request is a view of those very
-- bytes, and so are $args and what error log lines quote; the path before the question mark stays.
function _M.hide_query()
    ngx.req.clear_header("Referer")
    local text = ngx.var.request or ""
    local query = text:find("?", 1, true)
    if not query then
        return
    end
    ffi.copy(lowercase, NAME, #NAME)
    if C.secure_proxy_variable(base.get_request(), NAME, #NAME, lowercase, 0, value, length, problem) ~= 0 then
        return
    end
    -- The protocol version that follows the query keeps its place.
    local last = text:match("^.*() HTTP/[%d.]+$") or tonumber(length[0]) + 1
    ffi.fill(value[0] + query, last - 1 - query, string.byte("*"))
end

return _M
