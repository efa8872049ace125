-- The same request to a webhook trigger again and again.
--
--   wrk -s hook.lua URL -- PATH KEY

function init(args)
  wrk.method, wrk.path = "POST", args[1]
  wrk.headers["X-Key"] = args[2]
  wrk.headers["Content-Type"] = "application/json"
  wrk.body = '{"n": 1}'
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('{"seconds":%.6f,"requests":%d,"not_2xx":%d,"socket_errors":%d,',
    summary.duration / 1e6, summary.requests, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
  io.write(string.format('"p50_ms":%.3f,"p99_ms":%.3f}\n',
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
