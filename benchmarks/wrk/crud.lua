-- Tools made, read, listed, changed and deleted in equal parts. Arguments: key, a prefix of names.
dofile("report.lua")

-- A tool is deleted this many creations after its own: no request for it is under way by then.
local KEPT = 200
local ids, number, prefix = {}, 0, nil

function init(args)
  wrk.headers["X-API-KEY"], prefix = args[1], args[2]
  wrk.headers["Content-Type"] = "application/json"
end

function response(status, _, body)
  if status == 201 then ids[#ids + 1] = body:match('"id":"([^"]+)"') end
end

local function path(id) return "/api/v1/tools/" .. id end

function request()
  number = number + 1
  local step = #ids > KEPT and number % 5 or 0
  if step == 1 then return wrk.format("GET", path(ids[#ids])) end
  if step == 2 then return wrk.format("GET", "/api/v1/tools?limit=20") end
  -- Not all clients the same one: they would queue for its lock.
  if step == 3 then return wrk.format("PATCH", path(ids[#ids - number % 100]), nil, '{"description":"Changed"}') end
  if step == 4 then return wrk.format("DELETE", path(table.remove(ids, 1))) end
  local body = '{"name":"' .. prefix .. number .. '","description":"A tool that does something"}'
  return wrk.format("POST", "/api/v1/tools", nil, body)
end
