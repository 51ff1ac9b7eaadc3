-- Strict reading of a JSON Web Token (RFC 7519, RFC 7515 compact form). It refuses whatever two parsers could read
-- differently, before a signature is looked at; it verifies no signature and applies no rule about claims.

local base64 = require("ngx.base64")
local cjson = require("cjson.safe").new()

local ngx = ngx
local type = type

-- "NaN", "Infinity" and hexadecimal numbers are not JSON; an `exp` of Infinity would never end.
cjson.decode_invalid_numbers(false)
cjson.decode_max_depth(8)

local _M = {}

-- Above the largest token that identity providers issue in practice, below NGINX's header buffers.
local MAX_TOKEN_BYTES = 16384
local MAX_KID_BYTES = 256
local QUOTE = 34

-- `none` and the HMAC family are in no list: with them, others than the issuer could sign.
local ALGORITHMS = {
    RS256 = true, RS384 = true, RS512 = true,
    PS256 = true, PS384 = true, PS512 = true,
    ES256 = true, ES384 = true, ES512 = true,
}

-- A token must not bring or name its own key (RFC 8725, section 3.10), nor extensions that we do not understand.
local REFUSED_HEADERS = { "jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc" }

-- Other kinds of JWT that the same keys sign (RFC 8725, section 3.11) say so here.
local TYPES = { ["jwt"] = true, ["at+jwt"] = true, ["application/jwt"] = true, ["application/at+jwt"] = true }

-- @return the position after the string that begins at `start`, or nil when it does not end
local function end_of_string(text, start)
    local position = start + 1
    while true do
        position = text:find('["\\]', position)
        if not position then
            return nil
        end
        if text:byte(position) == QUOTE then
            return position + 1
        end
        position = position + 2
    end
end

-- Walks the text of a valid object and reports a member that stands twice: parsers disagree on which one counts.
local function duplicate_member(text)
    local position, stack, expecting_key = 1, {}, false
    while true do
        local start, _, symbol = text:find('(["{}%[%],])', position)
        if not start then
            return nil
        end
        position = start + 1
        if symbol == '"' then
            position = end_of_string(text, start)
            if not position then
                return "?"
            end
            if expecting_key then
                -- Decoded, so that an escaped spelling of a name counts as that name.
                local name = cjson.decode(text:sub(start, position - 1))
                local members = stack[#stack]
                if name == nil or members[name] then
                    return name or "?"
                end
                members[name] = true
                expecting_key = false
            end
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

-- PCRE refuses a subject that is not UTF-8 (RFC 8259, section 8.1, asks for it).
local function is_utf8(text)
    if not text:find("[\128-\255]") then
        return true
    end
    local _, _, err = ngx.re.find(text, "^", "u")
    return not err
end

local function json_object(segment, name)
    local text = base64.decode_base64url(segment)
    -- Loose bits at the end would let two texts mean one token.
    if not text or base64.encode_base64url(text) ~= segment then
        return nil, name .. " is not base64url"
    end
    if not text:find("^%s*{") or not is_utf8(text) then
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

local function check_header(header)
    if type(header.alg) ~= "string" or not ALGORITHMS[header.alg] then
        return nil, "algorithm is not on the allow-list"
    end
    for _, name in ipairs(REFUSED_HEADERS) do
        if header[name] ~= nil then
            return nil, "header has '" .. name .. "'"
        end
    end
    if header.typ ~= nil and (type(header.typ) ~= "string" or not TYPES[header.typ:lower()]) then
        return nil, "header has another 'typ' than an access token's"
    end
    if type(header.kid) ~= "string" or header.kid == "" or #header.kid > MAX_KID_BYTES then
        return nil, "header has no usable 'kid'"
    end
    return true
end

--- Reads a token.
-- @return { header, claims (tables), signed (the bytes that the signature is over), signature (bytes) }
-- or nil and the reason, which quotes nothing of the token but names of its members
function _M.parse(token)
    if #token > MAX_TOKEN_BYTES then
        return nil, "token of " .. #token .. " bytes"
    end
    -- RFC 6750, section 2.1: b64token.
    if not token:find("^[%w%-%._~%+/]+=*$") then
        return nil, "not a bearer token's syntax"
    end
    local first, second, third = token:match("^([%w_-]+)%.([%w_-]+)%.([%w_-]+)$")
    if not third then
        return nil, "not a signed JSON Web Token"
    end
    local header, reason = json_object(first, "header")
    if not header then
        return nil, reason
    end
    local ok
    ok, reason = check_header(header)
    if not ok then
        return nil, reason
    end
    local claims
    claims, reason = json_object(second, "payload")
    if not claims then
        return nil, reason
    end
    local signature = base64.decode_base64url(third)
    if not signature or base64.encode_base64url(signature) ~= third then
        return nil, "signature is not base64url"
    end
    return { header = header, claims = claims, signed = first .. "." .. second, signature = signature }
end

return _M
