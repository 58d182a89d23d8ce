# Sourced by the other scripts: installs Debian packages that are missing, as root or through sudo.

install_packages() {
    missing=
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ] && ! command -v sudo > /dev/null; then
        echo "these packages are missing and there is no sudo:$missing" >&2
        return 1
    fi
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing > /dev/null
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# The programs of a PostgreSQL server. Debian's package would also make a cluster and start it, which nothing here needs.
install_postgresql() {
    for server in /usr/lib/postgresql/*/bin/initdb; do
        [ ! -x "$server" ] || return 0
    done
    install_packages postgresql-common
    as_root sed -i 's/^#* *create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
    install_packages postgresql
}
