-- Strict reading of a JSON Web Token (RFC 7519, RFC 7515 compact form) and the claim rules.
-- It refuses whatever two parsers could read differently, before a signature is looked at; it verifies no signature.

local base64 = require("ngx.base64")
local cjson = require("cjson.safe").new()

local ngx = ngx
local type = type

-- "NaN", "Infinity" and hexadecimal numbers are not JSON; an `exp` of Infinity would never end.
cjson.decode_invalid_numbers(false)
cjson.decode_max_depth(8)

local _M = {}

-- The largest integer that every JSON parser reads alike (RFC 8259, section 6).
local MAX_SAFE_INTEGER = 9007199254740991
local MAX_KID_BYTES = 256

-- A token must not bring or name its own key (RFC 8725, section 3.10) or extensions that we do not understand.
local REFUSED_HEADERS = { "jwk", "jku", "x5u", "x5c", "crit" }

-- Walks the text and reports an object that has one member twice: parsers disagree on which one counts.
local function duplicate_member(text)
    local position, stack, expecting_key = 1, {}, false
    while true do
        local start, _, symbol = text:find('(["{}%[%],])', position)
        if not start then
            return nil
        end
        position = start + 1
        if symbol == '"' then
            local finish = start + 1
            while true do
                finish = text:find('["\\]', finish)
                if not finish then
                    return nil
                end
                if text:byte(finish) == 34 then
                    break
                end
                finish = finish + 2
            end
            if expecting_key then
                -- Decoded, so that an escaped spelling of a name counts as that name.
                local name = cjson.decode(text:sub(start, finish))
                local members = stack[#stack]
                if name == nil or members[name] then
                    return name or "?"
                end
                members[name] = true
                expecting_key = false
            end
            position = finish + 1
        elseif symbol == "{" then
            stack[#stack + 1] = {}
            expecting_key = true
        elseif symbol == "[" then
            stack[#stack + 1] = false
            expecting_key = false
        elseif symbol == "," then
            expecting_key = stack[#stack] and true or false
        else
            stack[#stack] = nil
            expecting_key = false
        end
    end
end

local function json_object(segment, name)
    local text = base64.decode_base64url(segment)
    if not text then
        return nil, name .. " is not base64url"
    end
    if not text:find("^%s*{") then
        return nil, name .. " is not a JSON object"
    end
    local value = cjson.decode(text)
    if type(value) ~= "table" then
        return nil, name .. " is not JSON"
    end
    if duplicate_member(text) then
        return nil, name .. " has a member twice"
    end
    return value
end

local function has_value(list, wanted)
    for _, value in ipairs(list) do
        if value == wanted then
            return true
        end
    end
    return false
end

--- Reads a token.
-- @param algorithms list of accepted `alg` values
-- @return { header = table, claims = table }, or nil and the reason
function _M.parse(token, algorithms)
    local first, second, third = token:match("^([%w_-]+)%.([%w_-]+)%.([%w_-]+)$")
    if not third then
        return nil, "not a signed JSON Web Token"
    end
    local header, reason = json_object(first, "header")
    if not header then
        return nil, reason
    end
    if type(header.alg) ~= "string" or not has_value(algorithms, header.alg) then
        return nil, "algorithm is not on the allow-list"
    end
    for _, name in ipairs(REFUSED_HEADERS) do
        if header[name] ~= nil then
            return nil, "header has '" .. name .. "'"
        end
    end
    if header.kid ~= nil and (type(header.kid) ~= "string" or #header.kid > MAX_KID_BYTES) then
        return nil, "header has an unusable 'kid'"
    end
    local claims
    claims, reason = json_object(second, "payload")
    if not claims then
        return nil, reason
    end
    return { header = header, claims = claims }
end

local function is_time(value)
    return type(value) == "number" and value >= 0 and value <= MAX_SAFE_INTEGER
end

local function audience_matches(aud, accepted)
    if type(aud) == "string" then
        return has_value(accepted, aud)
    end
    if type(aud) ~= "table" then
        return false
    end
    for _, value in ipairs(aud) do
        if type(value) == "string" and has_value(accepted, value) then
            return true
        end
    end
    return false
end

--- Applies the claim rules.
-- @param rules { issuer = string, audiences = list (empty: any), clock_skew_s = number }
-- @return true, or nil and the reason
function _M.check(claims, rules)
    local now, skew = ngx.time(), rules.clock_skew_s
    if not is_time(claims.exp) then
        return nil, "claim 'exp' is missing or not a time"
    end
    if claims.exp + skew <= now then
        return nil, "token has expired"
    end
    if claims.nbf ~= nil then
        if not is_time(claims.nbf) then
            return nil, "claim 'nbf' is not a time"
        end
        if claims.nbf - skew > now then
            return nil, "token is not valid yet"
        end
    end
    if claims.iat ~= nil and not is_time(claims.iat) then
        return nil, "claim 'iat' is not a time"
    end
    if claims.iss ~= rules.issuer then
        return nil, "claim 'iss' is not the configured issuer"
    end
    if #rules.audiences > 0 and not audience_matches(claims.aud, rules.audiences) then
        return nil, "claim 'aud' has none of the configured audiences"
    end
    if claims.sub ~= nil and type(claims.sub) ~= "string" then
        return nil, "claim 'sub' is not a string"
    end
    return true
end

return _M
