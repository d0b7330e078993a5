#!/bin/sh
# keybrokerctl from end to end, without a broker: init, keys, check, explain, and a ledger made here by another hand.
# BUILD is where the program is.  Prints one line a test, in cmocka's form.
set -u
cd "$(dirname "$0")/../.." || exit 1
ctl=$PWD/${BUILD:-build}/keybrokerctl
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
in=$tmp/instance
conf=$in/keybroker.json
failed=0

# run STATUS command…: the exit code must be that; what it said is in $out and $err
run() {
	want=$1
	shift
	"$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	got=$?
	out=$(cat "$tmp/out")
	err=$(cat "$tmp/err")
	[ "$got" = "$want" ] && return 0
	echo "  exit $got, not $want: $*"
	sed 's/^/  | /' "$tmp/out" "$tmp/err"
	return 1
}
says() { # text pattern
	case $1 in *$2*) return 0 ;; esac
	echo "  '$2' is not in: $1"
	return 1
}
is() {
	[ "$1" = "$2" ] && return 0
	echo "  '$1' is not '$2'"
	return 1
}
mode() { stat -c %a "$1"; }
t() { # one test: the function of that name
	if "$1"; then echo "[       OK ] $1"; else
		echo "[  FAILED  ] $1"
		failed=$((failed + 1))
	fi
}
c() { # status arguments…
	want=$1
	shift
	run "$want" "$ctl" -c "$conf" "$@"
}
objects() { find "$in/hsm/tokens" -name '*.object' ! -name token.object | wc -l; }

test_ctl_no_configuration() {
	run 2 "$ctl" -c "$tmp/nowhere.json" key create k && says "$err" 'name the configuration with -c FILE'
}

test_ctl_usage() {
	run 2 "$ctl" && says "$err" 'usage:' &&
		run 0 "$ctl" --help && says "$out" 'ledger verify' && is "$err" '' &&
		run 0 "$ctl" --version && says "$out" 'keybrokerctl ' &&
		run 2 "$ctl" nonsense && says "$err" "no command 'nonsense'" &&
		run 2 "$ctl" key && says "$err" "no command 'key'" &&
		run 2 "$ctl" key create && says "$err" 'NAME is missing' &&
		run 2 "$ctl" key list one && says "$err" 'too many: one' &&
		run 2 "$ctl" key list --nonsense && says "$err" 'key list --help' &&
		run 0 "$ctl" key create --help && says "$out" '--policy FILE' &&
		run 2 "$ctl" -c "$tmp/none.json" key list && says "$err" "$tmp/none.json"
}

test_ctl_init_refuses_bad_arguments() {
	for args in '--port 0' '--port 65536' '--port x' '--address localhost' '--issuer http://a' '--user no-such-user'; do
		# shellcheck disable=SC2086
		run 2 "$ctl" init "$tmp/bad" $args && says "$err" "${args%% *}" && [ ! -e "$tmp/bad" ] || return 1
	done
	# shellcheck disable=SC2046
	run 2 "$ctl" init "$tmp/bad" $(seq -f '--name h%g' 30) && says "$err" 'at most 29' && [ ! -e "$tmp/bad" ] || return 1
	run 2 "$ctl" init "$tmp/bad" --module relative.so && says "$err" absolute && rm -rf "$tmp/bad" &&
		run 2 "$ctl" init "$tmp/bad" --name 'a b' && says "$err" 'host name' && [ ! -e "$tmp/bad/keybroker.json" ]
}

test_ctl_init_makes_an_instance() {
	run 0 "$ctl" init "$in" --name skr.example --port $((20000 + $$ % 10000)) --metrics $((30000 + $$ % 10000)) --issuer https://issuer.example && says "$err" "$in" && is "$out" '' &&
		is "$(mode "$in/hsm/pin")" 600 && is "$(mode "$in/hsm/so-pin")" 600 && is "$(mode "$in/tls/ca.key")" 600 &&
		is "$(mode "$in/tls/server.key")" 600 && is "$(mode "$in/state")" 700 && is "$(mode "$in")" 700 &&
		is "$(wc -c <"$in/hsm/pin")" 32 && is "$(tr -d 0-9a-f <"$in/hsm/pin")" '' &&
		is "$(grep -cx -e '-----BEGIN CERTIFICATE-----' "$in/tls/signer-chain.pem")" 3 &&
		! cmp -s "$in/hsm/pin" "$in/hsm/so-pin" &&
		! grep -rqF "$(cat "$in/hsm/pin")" "$conf" "$in/hsm/softhsm2.conf" "$tmp/err"
}

test_ctl_init_certificates_verify() {
	for file in server signer-chain; do
		openssl verify -x509_strict -CAfile "$in/tls/root.pem" -untrusted "$in/tls/ca.pem" -verify_hostname skr.example -purpose sslserver \
			"$in/tls/$file.pem" >/dev/null || return 1
	done
	openssl x509 -in "$in/tls/signer-chain.pem" -noout -text | grep -q 'Public-Key: (2048 bit)' &&
		is "$(openssl x509 -in "$in/tls/server.pem" -noout -ext extendedKeyUsage | tail -1)" '    TLS Web Server Authentication'
}

# The commands of install.md make a right certificate of one that has no role; a TLS certificate never gets it.
test_b21_ctl_signer_certificate_is_replaced() {
	cp "$in/tls/signer-chain.pem" "$tmp/signer-chain.pem" && cp "$in/tls/server.pem" "$tmp/server.pem" || return 1
	sed -n '/^    cd \/etc\/keybroker\/tls$/,/^    cat signer.pem/s/^    //p' conf/doc/install.md >"$tmp/replace" && [ "$(wc -l <"$tmp/replace")" = 10 ] || return 1
	sed -i "1d; s/skr.example.net/skr.example/" "$tmp/replace"
	sed '/^extendedKeyUsage/d' "$tmp/replace" >"$tmp/without"
	sed "s|^extendedKeyUsage=.*|extendedKeyUsage=anyExtendedKeyUsage|" "$tmp/replace" >"$tmp/any"
	for one in without any; do
		(cd "$in/tls" && sh -eu "$tmp/$one") && c 0 check --hsm && says "$err" 'does not have the extended key usage' &&
			says "$err" "sha256//$(openssl pkey -pubin -in "$in/tls/signer.pub" -outform DER | openssl dgst -sha256 -binary | base64)" || return 1
	done
	(cd "$in/tls" && sh -eu "$tmp/replace") && c 0 check --hsm --json && says "$out" '"warnings":[]' && ! cmp -s "$in/tls/signer-chain.pem" "$tmp/signer-chain.pem" || return 1
	openssl x509 -in "$in/tls/server.pem" -noout -pubkey >"$in/tls/signer.pub" &&
		(cd "$in/tls" && sed 's/signer.pem/server.pem/; /^cat s/d; /signer.pub$/d' "$tmp/replace" | sh -eu) || return 1
	c 1 check && says "$err" 'of a release signer' && cp "$tmp/server.pem" "$in/tls/server.pem" && cp "$tmp/signer-chain.pem" "$in/tls/signer-chain.pem" && c 0 check
}

test_ctl_init_never_overwrites() {
	before=$(find "$in" -type f -exec sha256sum {} + | sort)
	run 2 "$ctl" init "$in" && says "$err" 'not an empty directory' && is "$(find "$in" -type f -exec sha256sum {} + | sort)" "$before"
}

test_ctl_check_is_good() {
	c 0 check && says "$out" 'good: 1 listener, 1 issuer, 0 keys' &&
		c 0 check --hsm --json && says "$out" '"good":true' && says "$out" '"warnings":[]'
}

test_ctl_key_create_each_type() {
	p=$in/policies/cvm.json
	c 0 key create rsa --kty RSA-HSM --size 3072 --policy "$p" --tag env=test --ops wrapKey,unwrapKey --immutable &&
		c 0 key create ec --kty EC-HSM --crv P-521 --policy "$p" --nbf 2026-01-01T00:00:00Z --exp 4102444800 &&
		c 0 key create oct --kty oct-HSM --size 20 --policy "$p" --disabled &&
		c 0 key create internal --kty RSA-HSM --not-exportable &&
		is "$(mode "$in/keys.d/rsa.json")" 640 &&
		grep -q '"file": "../policies/cvm.json"' "$in/keys.d/rsa.json" && grep -q '"immutable": true' "$in/keys.d/rsa.json" &&
		grep -q '"env": "test"' "$in/keys.d/rsa.json" && grep -q '"exp": 4102444800' "$in/keys.d/ec.json" &&
		grep -q '"nbf": 1767225600' "$in/keys.d/ec.json" &&
		c 0 key list && says "$out" 'KEY_DISABLED' && says "$out" 'KEY_NOT_EXPORTABLE' && is "$(echo "$out" | wc -l)" 5 &&
		c 0 key list --json && says "$out" '"name":"rsa","kty":"RSA-HSM","state":"releasable"' &&
		c 0 key show rsa --json && says "$out" '"versions"' && is "$err" '' &&
		c 0 check --hsm
}

test_ctl_key_create_refuses() {
	p=$in/policies/cvm.json
	n=$(objects)
	echo '{"version":"1.0.0",
"anyOf":[{"authority":"https://issuer.example","allOf":[{"claim":"a"}]}]}' >"$tmp/bad-policy.json"
	sed 's/issuer.example/other.example/' "$p" >"$in/policies/other.json"
	c 2 key create x --kty RSA-HSM && says "$err" '--policy FILE is missing' &&
		c 2 key create x --policy "$p" && says "$err" '--kty' &&
		c 2 key create x --kty RSA --policy "$p" && says "$err" '--kty' &&
		c 2 key create x --kty RSA-HSM --size 1024 --policy "$p" && says "$err" '--size' &&
		c 2 key create x --kty RSA-HSM --size 2049 --policy "$p" && says "$err" '--size' &&
		c 2 key create x --kty oct-HSM --size 15 --policy "$p" && says "$err" '--size' &&
		c 2 key create x --kty oct-HSM --size 65 --policy "$p" && says "$err" '--size' &&
		c 2 key create x --kty EC-HSM --crv P-256K --policy "$p" && says "$err" '--crv' &&
		c 2 key create x --kty RSA-HSM --ops fly --policy "$p" && says "$err" "not 'fly'" &&
		c 2 key create x --kty RSA-HSM --tag bare --policy "$p" && says "$err" 'NAME=VALUE' &&
		c 2 key create x --kty RSA-HSM --exp soon --policy "$p" && says "$err" '--exp' &&
		c 2 key create x_y --kty RSA-HSM --policy "$p" && says "$err" 'letters, digits and hyphens' &&
		c 2 key create RSA --kty RSA-HSM --policy "$p" && says "$err" 'already' &&
		c 2 key create x --kty RSA-HSM --policy "$tmp/none" && says "$err" 'No such file' &&
		c 2 key create x --kty RSA-HSM --policy "$tmp/bad-policy.json" && says "$err" 'bad-policy.json:2:' &&
		c 2 key create x --kty oct-HSM --policy "$in/policies/other.json" && says "$err" 'nothing was changed' &&
		[ ! -e "$in/keys.d/x.json" ] && is "$(objects)" "$n" && rm "$in/policies/other.json"
}

test_ctl_key_import() {
	p=$in/policies/cvm.json
	openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$tmp/ec.pem" 2>/dev/null
	openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -outform DER -out "$tmp/rsa.der" 2>/dev/null
	openssl genpkey -algorithm ED25519 -out "$tmp/ed.pem"
	printf '0123456789abcdef0123456789abcde\n' >"$tmp/oct.bin"
	head -c 65 /dev/zero >"$tmp/long.bin"
	c 0 key import ec-in --file "$tmp/ec.pem" --policy "$p" && says "$err" 'destroy it' && grep -q '"kty": "EC-HSM"' "$in/keys.d/ec-in.json" &&
		c 0 key import rsa-in --kty RSA-HSM --file "$tmp/rsa.der" --policy "$p" &&
		c 0 key import oct-in --kty oct-HSM --file "$tmp/oct.bin" --policy "$p" && says "$err" 'ends with a newline' &&
		c 2 key import x --policy "$p" && says "$err" '--file FILE is missing' &&
		c 2 key import x --file "$tmp/ed.pem" --policy "$p" && says "$err" 'ED25519' &&
		c 2 key import x --kty EC-HSM --file "$tmp/rsa.der" --policy "$p" && says "$err" 'EC is wanted' &&
		c 2 key import x --file "$tmp/oct.bin" --policy "$p" && says "$err" 'say --kty oct-HSM' &&
		c 2 key import x --kty oct-HSM --file "$tmp/long.bin" --policy "$p" && says "$err" '16 to 64' &&
		c 2 key import x --file "$tmp/none" --policy "$p" && says "$err" 'No such file' &&
		c 2 key import x --file /dev/null --policy "$p" && says "$err" '1 to' &&
		c 0 check --hsm
}

# What operators give by mistake: each file is called what it is.
test_c22_ctl_import_says_what_the_file_is() {
	p=$in/policies/cvm.json
	k=$tmp/k
	mkdir -p "$k"
	gen() { openssl genpkey "$@" 2>/dev/null; }
	gen -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out "$k/small.pem"
	gen -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:1099511627777 -out "$k/exponent.pem"
	gen -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out "$k/k256.pem"
	gen -algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1 -out "$k/brainpool.pem"
	gen -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$k/ec.pem"
	gen -algorithm X25519 -out "$k/x.pem"
	openssl pkey -in "$k/ec.pem" -aes256 -passout pass:secret -out "$k/locked.pem"
	openssl pkcs8 -topk8 -in "$k/ec.pem" -passout pass:secret -outform DER -out "$k/locked.der"
	openssl ec -in "$k/ec.pem" -aes128 -passout pass:secret -out "$k/old.pem" 2>/dev/null
	openssl pkey -in "$k/ec.pem" -pubout -out "$k/public.pem"
	openssl pkey -in "$k/ec.pem" -pubout -outform DER -out "$k/public.der"
	openssl req -x509 -new -key "$k/ec.pem" -subj /CN=k -out "$k/cert.pem"
	openssl x509 -in "$k/cert.pem" -outform DER -out "$k/cert.der"
	openssl req -new -key "$k/ec.pem" -subj /CN=k -out "$k/csr.pem"
	openssl pkcs12 -export -inkey "$k/ec.pem" -in "$k/cert.pem" -passout pass:secret -out "$k/store.p12"
	head -c 150 "$k/ec.pem" >"$k/cut.pem"
	printf '{"kty":"EC","d":"AA"}' >"$k/key.jwk"
	while read -r name text; do
		c 2 key import x --file "$k/$name" --policy "$p" </dev/null && says "$err" "$text" || { echo "$name: no '$text'" && return 1; }
	done <<-'EOF'
		small.pem RSA of 1024 bits is not supported: 2048 to 4096 bits are
		exponent.pem public exponent is not supported
		k256.pem curve P-256K (secp256k1) is not supported: P-256, P-384 or P-521 are
		brainpool.pem curve brainpoolP256r1 is not supported
		x.pem keys of type X25519 are not supported: RSA and EC are
		locked.pem an encrypted private key that was not decrypted
		locked.der an encrypted private key that was not decrypted
		old.pem an encrypted private key that was not decrypted
		public.pem a public key: what is imported is the private one
		public.der a public key: what is imported is the private one
		cert.pem a certificate, which has the public key alone
		cert.der a certificate, which has the public key alone
		csr.pem a certificate request
		store.p12 a PKCS#12 file
		cut.pem a damaged PEM private key
		key.jwk a JWK, which is not supported
	EOF
	# Symmetric keys are raw bytes.
	printf '\1%s' '0123456789abcdefghijklmnopqrstu' >"$k/good.bin"
	{ cat "$k/good.bin" && echo; } >"$k/line.bin"
	{ cat "$k/good.bin" && printf '\r\n'; } >"$k/dos.bin"
	head -c 33 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$k/hex.txt"
	printf 00112233445566778899aabbccddeeff >"$k/short.txt"
	c 2 key import x --kty oct-HSM --file "$k/line.bin" --policy "$p" && says "$err" '33 bytes, the last of which ends a line' &&
		c 2 key import x --kty oct-HSM --file "$k/dos.bin" --policy "$p" && says "$err" '34 bytes, the last of which end a line' &&
		c 2 key import x --kty oct-HSM --file "$k/hex.txt" --policy "$p" && says "$err" 'this file has 66; it is hexadecimal text: decode it first' &&
		c 0 key import text-in --kty oct-HSM --file "$k/short.txt" --policy "$p" && says "$err" 'the file is hexadecimal text' &&
		c 0 key import raw-in --kty oct-HSM --file "$k/good.bin" --policy "$p" && ! says "$err" 'the key now'
}

# The file is a secret: a mode that shows it to others is told, and the key is taken.
test_c22_ctl_import_warns_of_a_readable_file() {
	p=$in/policies/cvm.json
	printf '\1%s' '0123456789abcdefghijklmnopqrstu' >"$tmp/mode.bin"
	chmod 0640 "$tmp/mode.bin"
	c 0 key import mode-in --kty oct-HSM --file "$tmp/mode.bin" --policy "$p" && says "$err" 'mode 640' && chmod 0600 "$tmp/mode.bin" &&
		c 0 key import mode-ok --kty oct-HSM --file "$tmp/mode.bin" --policy "$p" && ! says "$err" 'other users'
}

# softhsm2.conf has an absolute path: the error says which, and where it is written.
test_c23_ctl_moved_instance_names_the_token_directory() {
	run 0 "$ctl" init "$tmp/before" --issuer https://issuer.example && mv "$tmp/before" "$tmp/moved" || return 1
	m=$tmp/moved/keybroker.json
	for command in check 'check --hsm' 'key list' "key create x --kty oct-HSM --policy $tmp/moved/policies/cvm.json"; do
		# shellcheck disable=SC2086 # several words
		"$ctl" -c "$m" $command >"$tmp/told" 2>&1 && echo "$command: accepted" && return 1
		says "$(cat "$tmp/told")" "$tmp/moved/hsm/softhsm2.conf names the token directory $tmp/before/hsm/tokens" || return 1
	done
	sed -i "s|$tmp/before|$tmp/moved|" "$tmp/moved/hsm/softhsm2.conf" && run 0 "$ctl" -c "$m" check --hsm
}

test_ctl_key_rotate_disable_enable() {
	c 0 key rotate oct && c 0 key rotate oct --json && is "$(grep -c '"object"' "$in/keys.d/oct.json")" 3 &&
		grep -q '"updated"' "$in/keys.d/oct.json" &&
		c 0 key disable rsa && grep -q '"enabled": false' "$in/keys.d/rsa.json" &&
		c 0 key enable rsa && grep -q '"enabled": true' "$in/keys.d/rsa.json" &&
		c 2 key rotate none && says "$err" "no key 'none'" && c 2 key enable none && c 2 key show none &&
		c 0 check --hsm
}

test_ctl_key_delete() {
	n=$(objects)
	c 2 key delete oct && says "$err" '--yes' && is "$(objects)" "$n" &&
		c 0 key delete oct --yes && [ ! -e "$in/keys.d/oct.json" ] && is "$(objects)" $((n - 3)) &&
		c 2 key delete oct --yes && c 0 check --hsm
}

test_ctl_check_names_path_and_line() {
	cp "$in/keys.d/rsa.json" "$tmp/rsa.json"
	sed 's/"immutable"/"imutable"/' "$tmp/rsa.json" >"$in/keys.d/rsa.json"
	line=$(grep -n imutable "$in/keys.d/rsa.json" | cut -d: -f1)
	c 1 check && says "$err" "$in/keys.d/rsa.json:$line:" && is "$out" '' &&
		c 1 check --json && says "$out" '"good":false' && says "$out" "rsa.json:$line:" &&
		c 2 key disable ec && ! grep -q '"enabled": false' "$in/keys.d/ec.json" && cp "$tmp/rsa.json" "$in/keys.d/rsa.json" &&
		chmod 666 "$in/policies/cvm.json" && c 1 check && says "$err" 'policies/cvm.json' && chmod 644 "$in/policies/cvm.json" &&
		chmod 604 "$in/tls/server.key" && c 1 check && says "$err" 'tls/server.key' && chmod 600 "$in/tls/server.key" &&
		c 0 check
}

# What no token can satisfy is valid, but hardly meant.
test_a39_ctl_check_warns_of_paths() {
	cp "$in/policies/cvm.json" "$tmp/cvm.json"
	sed 's|"claim": *"[^"]*"|"claim": "/exp/x"|' "$tmp/cvm.json" >"$in/policies/cvm.json"
	c 0 check && says "$err" 'the claim path "/exp/x" can never match' && c 0 check --json && says "$out" 'can never match' &&
		sed 's|"claim": *"[^"]*"|"claim": "/a~2"|' "$tmp/cvm.json" >"$in/policies/cvm.json" &&
		c 1 check && says "$err" 'JSON Pointer' && cp "$tmp/cvm.json" "$in/policies/cvm.json" && c 0 check && is "$err" ''
}

test_a46_ctl_dates_of_zero() {
	p=$in/policies/cvm.json
	cp "$in/keys.d/ec.json" "$tmp/ec.json"
	sed 's/"exp": [0-9]*/"exp": 0/' "$tmp/ec.json" >"$in/keys.d/ec.json"
	c 1 check && says "$err" 'attributes.exp is 0' && cp "$tmp/ec.json" "$in/keys.d/ec.json" &&
		c 2 key create zero --kty oct-HSM --policy "$p" --exp 0 && says "$err" '--exp' &&
		c 2 key create zero --kty oct-HSM --policy "$p" --nbf 1970-01-01T00:00:00Z && says "$err" '--nbf' && c 0 check
}

test_a43_ctl_byte_order_marks() {
	for f in keybroker.json issuers.d/issuer.json keys.d/rsa.json policies/cvm.json; do
		cp "$in/$f" "$tmp/plain"
		{ printf '\357\273\277' && cat "$tmp/plain"; } >"$in/$f"
		c 0 check || return 1
		iconv -t UTF-16 "$tmp/plain" >"$in/$f"
		c 1 check && says "$err" 'UTF-16' || return 1
		cp "$tmp/plain" "$in/$f"
	done
	c 0 check
}

test_ctl_check_hsm_finds_what_is_wrong() {
	cp "$conf" "$tmp/keybroker.json" && cp "$in/hsm/pin" "$tmp/pin" && cp "$in/keys.d/rsa.json" "$tmp/rsa.json"
	object=$(grep -o 'pkcs11:[^"]*' "$in/keys.d/rsa-in.json")
	sed "s/pkcs11:[^\"]*/$object/" "$tmp/rsa.json" >"$in/keys.d/rsa.json"
	c 1 check --hsm && says "$err" 'HSM_KEY_ATTR' && cp "$tmp/rsa.json" "$in/keys.d/rsa.json" &&
		sed '/"signer"/s/pkcs11:[^"]*/'"$object/" "$tmp/keybroker.json" >"$conf" && c 1 check --hsm && says "$err" 'signer' &&
		cp "$tmp/keybroker.json" "$conf" &&
		echo 0123456789 >"$in/hsm/pin" && c 1 check --hsm && says "$err" 'HSM_PIN' && cp "$tmp/pin" "$in/hsm/pin" &&
		chmod 604 "$in/hsm/pin" && c 1 check && says "$err" 'pin' && chmod 600 "$in/hsm/pin" && c 0 check --hsm
}

test_ctl_explain() {
	printf 'not.a.token' >"$tmp/token"
	c 2 explain && says "$err" '--key NAME and --token FILE' &&
		c 2 explain --key none --token "$tmp/token" && says "$err" "no key 'none'" &&
		c 2 explain --key rsa --token "$tmp/none" && says "$err" 'No such file' &&
		c 2 explain --key rsa --token "$tmp/token" --at never && says "$err" '--at' &&
		c 1 explain --key rsa --token "$tmp/token" && says "$out" 'REFUSE' && says "$out" '✗ format' && says "$out" '11 bytes in 3 parts' &&
		c 1 explain --key rsa --token "$tmp/token" --json && says "$out" '"released":false' &&
		c 1 explain --key internal --token "$tmp/token" && says "$out" 'KEY_NOT_EXPORTABLE' &&
		c 1 explain --key rsa --version 0 --token "$tmp/token" && says "$out" 'KEY_NOT_FOUND' &&
		head -c 200000 /dev/zero | tr '\0' a >"$tmp/token" && c 1 explain --key rsa --token "$tmp/token" && says "$out" 'TOKEN_SIZE'
}

# Where the keys come from: a file of the fetcher's, made here as its format says (broker/process/keyset.h), then the operator's own.
test_ctl_explain_uses_fetched_keys() {
	part() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
	openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$tmp/issuer.pem" 2>/dev/null
	x5c=$(openssl req -x509 -new -key "$tmp/issuer.pem" -subj /CN=issuer -days 10 -outform DER | openssl base64 -A)
	printf '{"keys":[{"kid":"one","kty":"RSA","x5c":["%s"]},{"kid":"old","kty":"oct"}]}' "$x5c" >"$tmp/set.jwks"
	body=$(printf '{"alg":"RS256","kid":"one"}' | part).$(printf '{"iss":"https://issuer.example","iat":1795000000,"exp":1795003600,"x-ms-attestation-type":"none"}' | part)
	printf '%s.%s' "$body" "$(printf %s "$body" | openssl dgst -sha256 -sign "$tmp/issuer.pem" | part)" >"$tmp/token"
	c 1 explain --key rsa --token "$tmp/token" --at 1795000001 && says "$out" 'ISSUER_UNAVAILABLE' && says "$err" 'no fetched key set' || return 1
	# Whose keys, from where, by which CA: another issuer's set is none.
	fetched() { # issuer
		printf '{"issuer":"%s","source":"discovery","url":"%s","addresses":"public","proxy":"none","ca_sha256":"%s","fetched":1795000000,"fresh_until":1795003600,"sha256":"%s"}\n' \
			"$1" "$1" "$ca" "$(sha256sum <"$tmp/set.jwks" | cut -c1-64)" | cat - "$tmp/set.jwks" >"$keys"
	}
	ca=$(printf '' | sha256sum | cut -c1-64)
	keys=$in/state/issuers/issuer.$(printf '%s\0' https://issuer.example discovery https://issuer.example public none "$ca" | sha256sum | cut -c1-16).keys
	fetched https://other.example
	c 1 explain --key rsa --token "$tmp/token" --at 1795000001 && says "$out" 'ISSUER_UNAVAILABLE' && says "$err" 'KEYSET_ORIGIN' || return 1
	fetched https://issuer.example
	c 1 explain --key rsa --token "$tmp/token" --at 1795000001 && says "$out" '✓ signature' && says "$out" 'REFUSE POLICY' &&
		says "$out" 'of 2 keys, not used: KEY_TYPE of "old"' && c 0 check && says "$err" 'of 2 keys, 1 are not used: KEY_TYPE of "old"' &&
		c 1 explain --key rsa --token "$tmp/token" --at 1795086401 && says "$err" 'KEYSET_STALE' && says "$out" 'ISSUER_UNAVAILABLE' &&
		c 1 explain --key rsa --token "$tmp/token" --at 1795086401 --keys "$tmp/set.jwks" && says "$out" 'REFUSE EXPIRED' &&
		c 2 explain --key rsa --token "$tmp/token" --keys "$tmp/oct.bin" && says "$err" 'is refused' && rm "$keys"
}

# The chain as its format says (broker/process/chain.h), made without our code: append a record's members.
record() {
	head=$(printf '{"seq":%d,"prev":"%s",%s' "$seq" "$prev" "$1")
	printf '%s,"sum":"%s"}\n' "$head" "$(printf %s "$head" | sha256sum | cut -c1-64)" >>"$ledger"
	prev=$(tail -n 1 "$ledger" | tr -d '\n' | sha256sum | cut -c1-64)
	seq=$((seq + 1))
}
ledger_make() {
	mkdir -p "$tmp/ledger"
	ledger=$tmp/ledger/ledger-00000001.jsonl
	rm -f "$ledger"
	seq=1
	prev=0000000000000000000000000000000000000000000000000000000000000000
	record '"time":"2026-11-21T10:00:00.000000Z","event":"segment","segment":1,"why":"start","previous_bytes":0,"clock":0,"replay_until":0'
	record '"time":"2026-11-21T10:00:01.000000Z","event":"release","outcome":"released","code":"OK","key":"rsa","issuer":"i","peer":"10.0.0.1"'
	head2=2:$prev
	record '"time":"2026-11-21T10:00:02.000000Z","event":"release","outcome":"refused","code":"POLICY","key":"\u001b[2J","failing":[{"claim":"c","op":"equals","expected":"a"}]'
	record '"time":"2026-11-21T10:00:03.000000Z","event":"release","outcome":"refused","code":"EXPIRED","key":"ec"'
	chmod 640 "$ledger"
}

test_ctl_ledger_verify() {
	ledger_make
	c 0 ledger verify && says "$out" 'good: 0 records' &&
		run 0 "$ctl" ledger verify --dir "$tmp/ledger" && says "$out" 'good: 4 records in 1 segment' && says "$out" "head: 4:$prev" &&
		run 0 "$ctl" ledger verify --dir "$tmp/ledger" --json && says "$out" "\"head\":\"4:$prev\"" &&
		run 0 "$ctl" ledger verify --dir "$tmp/ledger" --expect-head "$head2" &&
		run 1 "$ctl" ledger verify --dir "$tmp/ledger" --expect-head "3:${head2#2:}" && says "$err" 'rewritten' &&
		run 1 "$ctl" ledger verify --dir "$tmp/ledger" --expect-head "9:${head2#2:}" && says "$err" 'cut' &&
		run 2 "$ctl" ledger verify --dir "$tmp/ledger" --expect-head 2:xyz && run 2 "$ctl" ledger verify --dir "$tmp/none"
}

test_d05_ledger_verify_names_the_line() {
	ledger_make
	cp "$ledger" "$tmp/good"
	sed -i '3s/POLICY/POLICX/' "$ledger" && run 1 "$ctl" ledger verify --dir "$tmp/ledger" && says "$err" 'ledger-00000001.jsonl:3:' &&
		sed 2d "$tmp/good" >"$ledger" && run 1 "$ctl" ledger verify --dir "$tmp/ledger" && says "$err" 'jsonl:2:' &&
		sed 2p "$tmp/good" >"$ledger" && run 1 "$ctl" ledger verify --dir "$tmp/ledger" && says "$err" 'jsonl:3:' &&
		sed -n '1p;3p' "$tmp/good" >"$ledger" && sed -n '2p;4p' "$tmp/good" >>"$ledger" && run 1 "$ctl" ledger verify --dir "$tmp/ledger" && says "$err" 'jsonl:2:' &&
		head -c -9 "$tmp/good" >"$ledger" && run 1 "$ctl" ledger verify --dir "$tmp/ledger" && says "$err" 'jsonl:4:' && says "$err" 'torn' &&
		sed 1d "$tmp/good" >"$ledger" && run 1 "$ctl" ledger verify --dir "$tmp/ledger"
}

test_ctl_ledger_show() {
	ledger_make
	run 0 "$ctl" ledger show --dir "$tmp/ledger" && is "$(echo "$out" | wc -l)" 5 && says "$out" 'but is absent' &&
		! grep -q "$(printf '\033')" "$tmp/out" &&
		run 0 "$ctl" ledger show --dir "$tmp/ledger" --json && is "$out" "$(cat "$ledger")" &&
		run 0 "$ctl" ledger show --dir "$tmp/ledger" --key rsa --json && is "$out" "$(sed -n 2p "$ledger")" &&
		run 0 "$ctl" ledger show --dir "$tmp/ledger" --code EXPIRED --json && is "$out" "$(sed -n 4p "$ledger")" &&
		run 0 "$ctl" ledger show --dir "$tmp/ledger" --since 2026-11-21T10:00:02Z --json && is "$out" "$(sed -n 3,4p "$ledger")" &&
		run 0 "$ctl" ledger tail --dir "$tmp/ledger" -n 2 --json && is "$out" "$(sed -n 3,4p "$ledger")" &&
		run 2 "$ctl" ledger show --dir "$tmp/ledger" --code NONSENSE && says "$err" "no code" &&
		run 2 "$ctl" ledger tail --dir "$tmp/ledger" -n 0 && says "$err" '--lines'
}

test_b29_ctl_ledger_show_caller() {
	ledger_make
	record '"time":"2026-11-21T10:00:05.000000Z","event":"release","outcome":"refused","code":"POLICY","key":"rsa","caller":"bearer:0123456789abcdef","caller_name":"agent-7"'
	record '"time":"2026-11-21T10:00:06.000000Z","event":"release","outcome":"refused","code":"POLICY","key":"rsa","caller":"certificate:fedcba9876543210"'
	record '"time":"2026-11-21T10:00:07.000000Z","event":"release","outcome":"refused","code":"POLICY","key":"rsa","caller":"none"'
	run 0 "$ctl" ledger tail --dir "$tmp/ledger" -n 3 && says "$out" 'as agent-7' && says "$out" 'as certificate:fedcba9876543210' &&
		is "$(echo "$out" | grep -c ' as ')" 2 || return 1
	for who in agent-7 bearer:0123456789abcdef 0123456789abcdef 0123456789abcdef000000000000000000000000000000000000000000000000; do
		run 0 "$ctl" ledger show --dir "$tmp/ledger" --caller $who --json && is "$out" "$(sed -n 5p "$ledger")" || return 1
	done
	run 0 "$ctl" ledger show --dir "$tmp/ledger" --caller none --json && is "$out" "$(sed -n 7p "$ledger")" || return 1
	for who in agent bearer: 0123456789abcde certificate:0123456789abcdef; do
		run 0 "$ctl" ledger show --dir "$tmp/ledger" --caller $who && is "$out" "" || return 1
	done
}

# A ledger of an earlier version: a record's key with U+009B, U+202E, U+2066, U+061C, U+200F and DEL's neighbours as they are.
test_d18_ctl_ledger_show_is_safe_for_a_terminal() {
	ledger_make
	record "$(printf '"time":"2026-11-21T10:00:04.000000Z","event":"release","outcome":"refused","code":"POLICY","key":"\302\2332J\342\200\256\342\201\246\330\234\342\200\217"')"
	run 0 "$ctl" ledger show --dir "$tmp/ledger" && says "$out" '\\u009b2J\\u202e\\u2066\\u061c\\u200f' &&
		run 0 "$ctl" ledger tail --dir "$tmp/ledger" && says "$out" '\\u009b2J\\u202e' &&
		run 0 "$ctl" ledger show --dir "$tmp/ledger" --json && is "$out" "$(cat "$ledger")" &&
		run 2 "$ctl" ledger show --dir "$(printf '/no\302\233where')" && says "$err" '/no\\u009bwhere' || return 1
	command -v script >/dev/null || return 0
	out=$(script -qc "$ctl ledger show --json --dir $tmp/ledger" /dev/null </dev/null)
	says "$out" '\\u009b2J\\u202e'
}
test_ctl_ledger_follow() {
	ledger_make
	"$ctl" ledger tail --dir "$tmp/ledger" -n 1 -f --json >"$tmp/followed" 2>/dev/null &
	pid=$!
	sleep 0.5
	record '"time":"2026-11-21T10:00:04.000000Z","event":"release","outcome":"refused","code":"EXPIRED","key":"new"'
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		[ "$(wc -l <"$tmp/followed")" = 2 ] && break
		sleep 0.3
	done
	kill "$pid"
	wait "$pid" 2>/dev/null
	is "$(cat "$tmp/followed")" "$(tail -n 2 "$ledger")"
}

# A segment that is gone, or that is no file any more, is reported, and the command ends.
test_ctl_ledger_follow_loses_its_segment() {
	for instead in nothing directory; do
		rm -f "$tmp/followed"
		ledger_make
		rm -f "$tmp/followed" # of the round before: it must not be taken for this one's
		"$ctl" ledger tail --dir "$tmp/ledger" -n 1 -f --json >"$tmp/followed" 2>"$tmp/told" &
		pid=$!
		for _ in 1 2 3 4 5 6 7 8 9 10; do
			[ -s "$tmp/followed" ] && break
			sleep 0.3
		done
		mv "$ledger" "$tmp/aside"
		[ "$instead" = nothing ] || mkdir "$ledger"
		wait "$pid"
		is "$instead $?" "$instead 1" && says "$(cat "$tmp/told")" 'ledger verify' || return 1
		rm -rf "$tmp/ledger" "$tmp/aside"
	done
}

# Nobody takes the question: unknown, and nothing is left that a later broker would take for one.
test_h19_issuer_refresh_without_a_broker() {
	c 2 issuer refresh --timeout 1 && says "$err" 'no broker has taken the question' &&
		c 2 issuer refresh issuer --timeout 1 --json && says "$out" '[]' && ! ls "$in"/state/issuers/*.refresh 2>/dev/null &&
		c 2 issuer refresh nosuch && says "$err" 'has no issuer nosuch.json' &&
		c 2 issuer refresh --timeout 0 && c 2 issuer && c 0 issuer refresh --help && says "$out" 'min_interval'
}

test_ctl_status_and_reload_without_a_broker() {
	c 1 status && says "$out" 'NOT RUNNING' && c 1 status --json && says "$out" '"pid":0' &&
		c 2 reload && says "$err" 'no broker is running' &&
		echo 1 >"$in/state/keybrokerd.pid" && c 2 reload && says "$err" 'no broker is running' &&
		echo $$ >"$in/state/keybrokerd.pid" && c 2 reload && says "$err" 'no broker is running' && rm "$in/state/keybrokerd.pid" &&
		echo x >>"$conf" && c 1 reload && says "$err" 'not reloaded' && sed -i '$d' "$conf" && c 0 check
}

# As root: the processes' user owns what the processes write and nothing else.
test_ctl_init_for_another_user() {
	[ "$(id -u)" = 0 ] || return 0
	run 0 "$ctl" init "$tmp/other" --user nobody --issuer https://issuer.example &&
		is "$(find "$tmp/other" -user nobody | sed "s|$tmp/other/||" | grep -vE '^(hsm/(tokens|pin)|state)(/|$)')" '' &&
		run 0 "$ctl" -c "$tmp/other/keybroker.json" key create k --kty oct-HSM --policy "$tmp/other/policies/cvm.json" &&
		is "$(find "$tmp/other/hsm/tokens" ! -user nobody)" '' && is "$(stat -c %U "$tmp/other/keys.d/k.json")" root &&
		run 0 "$ctl" -c "$tmp/other/keybroker.json" check --hsm
}

for test in $(sed -n "s/^\(test_[a-z0-9_]*\)() {\$/\1/p" tests/e2e/test-ctl.sh); do
	t "$test"
done
[ "$failed" = 0 ]
