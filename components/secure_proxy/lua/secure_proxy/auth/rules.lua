-- What an issuer's tokens must say. The rules come from the settings (secure_proxy.config) and run on every request,
-- after any cache: a verdict on a signature says nothing about the rules of the place where the token is shown.

local ngx = ngx
local type = type

local _M = {}

-- The largest integer that every JSON parser reads alike (RFC 8259, section 6).
local MAX_SAFE_INTEGER = 9007199254740991
-- OpenID Connect Core 1.0, section 2, allows 255 characters.
local MAX_SUBJECT_BYTES = 255

local function has_value(list, wanted)
    for _, value in ipairs(list) do
        if value == wanted then
            return true
        end
    end
    return false
end

local function is_time(value)
    return type(value) == "number" and value >= 0 and value <= MAX_SAFE_INTEGER
end

-- `aud` is a string or a list of them (RFC 7519, section 4.1.3).
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

-- `scope` is a string of words (RFC 8693, section 4.2); some issuers say `scp`, as a string or a list.
local function granted_scopes(claims)
    local value = claims.scope
    if value == nil then
        value = claims.scp
    end
    local granted = {}
    if type(value) == "string" then
        for word in value:gmatch("%S+") do
            granted[word] = true
        end
    elseif type(value) == "table" then
        for _, word in ipairs(value) do
            if type(word) == "string" then
                granted[word] = true
            end
        end
    end
    return granted
end

local function claim_holds(value, rule)
    if rule.test ~= "contains" then
        return has_value(rule.values, value)
    end
    return type(value) == "table" and has_value(value, rule.values[1])
end

local function check_times(claims, skew)
    local now = ngx.time()
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
    return true
end

local function check_subject(sub)
    if sub ~= nil and (type(sub) ~= "string" or sub == "" or #sub > MAX_SUBJECT_BYTES or sub:find("%c")) then
        return nil, "claim 'sub' is not a usable subject"
    end
    return true
end

--- Applies what an issuer's rules and a route's have in common.
-- @param rules { audiences, scopes = lists of strings,
--   claims = list of { name, test = "equals" | "one_of" | "contains", values } }
-- @return true, or nil and the reason
function _M.check_grants(claims, rules)
    if #rules.audiences > 0 and not audience_matches(claims.aud, rules.audiences) then
        return nil, "claim 'aud' has none of the configured audiences"
    end
    if #rules.scopes > 0 then
        local granted = granted_scopes(claims)
        for _, scope in ipairs(rules.scopes) do
            if not granted[scope] then
                return nil, "scope '" .. scope .. "' is missing"
            end
        end
    end
    for _, rule in ipairs(rules.claims) do
        if not claim_holds(claims[rule.name], rule) then
            return nil, "claim '" .. rule.name .. "' is not as required"
        end
    end
    return true
end

--- Applies an issuer's rules.
-- @param rules { issuer, clock_skew_s, and what check_grants() reads }
-- @return true, or nil and the reason
function _M.check(claims, rules)
    local ok, reason = check_times(claims, rules.clock_skew_s)
    if not ok then
        return nil, reason
    end
    ok, reason = check_subject(claims.sub)
    if not ok then
        return nil, reason
    end
    return _M.check_grants(claims, rules)
end

return _M
