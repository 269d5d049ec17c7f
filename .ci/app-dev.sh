# shellcheck shell=bash
# For scripts that need a running server: source it, then call start_app_dev with a file for what the server prints. It
# sets `url` (of the API) and `database_url`, and ends with the script. SURETY_APP names a binary to run instead of
# building one.

start_app_dev() {
  local log=$1 app=${SURETY_APP:-}
  # A database or settings of an outer shell are not for this.
  unset DATABASE_URL "${!APP_@}"
  if [ -z "$app" ]; then
    cargo build --locked --quiet --bin app
    app=${CARGO_TARGET_DIR:-target}/debug/app
  fi
  app_dev_data=$(mktemp --directory)
  # PostgreSQL does not run as root; whoever it runs as must reach its folder.
  chmod 755 "$app_dev_data"
  "$app" dev --listen 127.0.0.1:0 --no-download --data-dir "$app_dev_data/postgresql" >"$log" 2>&1 &
  app_dev_pid=$!
  trap stop_app_dev EXIT
  for _ in $(seq 600); do
    grep --quiet '^Ready in' "$log" && break
    kill -0 "$app_dev_pid" 2>/dev/null || break
    sleep 0.1
  done
  grep --quiet '^Ready in' "$log" || { cat "$log" >&2; echo 'app dev did not start' >&2; return 1; }
  # shellcheck disable=SC2034  # for whoever sources this
  url=$(sed -nE 's|^ *API +(http://[^/]+)/.*|\1|p' "$log")
  # shellcheck disable=SC2034
  database_url=$(sed -nE 's|^ *export DATABASE_URL=||p' "$log")
}

stop_app_dev() {
  kill -INT "$app_dev_pid" 2>/dev/null || true
  wait "$app_dev_pid" || true
  rm -rf "$app_dev_data"
}
