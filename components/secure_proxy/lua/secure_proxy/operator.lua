-- What the operator's command on the machine asks (/usr/libexec/secure-proxy/sessions): which sessions there are, and
-- to end some. On the health listener, for loopback alone, with a key that root alone can read.

local cjson = require("cjson.safe").new()
local config = require("secure_proxy.config")
local registry = require("secure_proxy.registry")

local ngx = ngx

local _M = {}

local function is_operator()
    local given = ngx.var.http_x_operator_key
    -- Digests are compared, so that the time it takes tells nothing about the key.
    return ngx.var.remote_addr == "127.0.0.1"
        and given ~= nil
        and ngx.sha1_bin(given) == ngx.sha1_bin(config.operator_key)
end

-- Without entries a Lua table is no list to the encoder.
local function answer_list(name, entries)
    ngx.header["Content-Type"] = "application/json"
    ngx.say('{"', name, '":', #entries == 0 and "[]" or cjson.encode(entries), "}")
end

local function matches(record, wanted)
    if wanted.id then
        return record.id == wanted.id
    end
    return record.subject == wanted.subject and (wanted.issuer == nil or record.issuer == wanted.issuer)
end

local function end_sessions()
    ngx.req.read_body()
    local wanted = cjson.decode(ngx.req.get_body_data() or "")
    if type(wanted) ~= "table" or (type(wanted.id) ~= "string") == (type(wanted.subject) ~= "string") then
        return ngx.exit(ngx.HTTP_BAD_REQUEST)
    end
    local ended = {}
    for _, record in ipairs(registry.all()) do
        if matches(record, wanted) and registry.order_end(record.id) then
            ended[#ended + 1] = record.id
        end
    end
    return answer_list("ended", ended)
end

--- GET lists the sessions of this machine; POST with {"id": …} or {"subject": …, "issuer": optional} ends them.
function _M.serve()
    if not is_operator() then
        return ngx.exit(ngx.HTTP_FORBIDDEN)
    end
    if ngx.req.get_method() == "POST" then
        return end_sessions()
    end
    return answer_list("sessions", registry.all())
end

return _M
