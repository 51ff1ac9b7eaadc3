-- The audit log: one JSON record a line (schema: docs/security.md). Written with one append each, as NGINX writes its
-- own access log: the page cache takes it at once, and records of several workers don't mix.

local cjson = require("cjson.safe").new()
local config = require("secure_proxy.config")

local ngx = ngx

local _M = {}

-- The file is opened again after this long, so that a rotation is followed without a signal.
local REOPEN_S = 1

local file
local opened_at = 0

local function current_file()
    local now = ngx.now()
    if not file or now - opened_at > REOPEN_S then
        local fresh, err = io.open(config.audit_log, "a")
        if fresh then
            if file then
                file:close()
            end
            fresh:setvbuf("no")
            file = fresh
        elseif not file then
            return nil, err
        end
        opened_at = now
    end
    return file
end

local function timestamp()
    local now = ngx.now()
    return os.date("!%Y-%m-%dT%H:%M:%S", now) .. string.format(".%03dZ", (now % 1) * 1000)
end

--- Whether records can be written. A session that nobody could account for is not opened.
-- @return true, or nil and the reason
function _M.ready()
    local ok, err = current_file()
    return ok and true, err
end

--- What is known of the current request, for every record about it.
function _M.request()
    local var, identity, ctx = ngx.var, ngx.ctx.identity or {}, ngx.ctx
    return {
        id = ctx.session_id or var.request_id,
        client = var.remote_addr,
        client_port = tonumber(var.remote_port),
        listener = var.listener,
        route = ctx.route and ctx.route.path or nil,
        subject = identity.subject,
        issuer = identity.issuer,
        client_certificate = identity.certificate,
    }
end

--- Writes a record; `time` and `event` are added to the fields. A failure is logged and does not raise.
function _M.write(event, fields)
    fields.time = timestamp()
    fields.event = event
    local text, err = cjson.encode(fields)
    local target
    if text then
        target, err = current_file()
    end
    local ok
    if target then
        -- In one piece: each argument would be a write of its own, with room for another worker's between them.
        ok, err = target:write(text .. "\n")
    end
    if not ok then
        ngx.log(ngx.ALERT, "audit record '", event, "' is lost: ", err)
    end
end

return _M
