# Results as TAP lines, and their sum.  Sourced by bash scripts after lib.sh.
tests=0 failed=0

# result EXIT_CODE NAME
result() {
	tests=$((tests + 1))
	if [ "$1" = 0 ]; then
		echo "ok $tests - $2"
	else
		echo "not ok $tests - $2"
		failed=$((failed + 1))
	fi
}

# check NAME COMMAND...: its output is shown if it fails
check() {
	local rc=0 name=$1
	shift
	"$@" >"$work/check.log" 2>&1 || { rc=$?; cat "$work/check.log"; }
	result "$rc" "$name"
}

# results: the last line
results() {
	echo "$((tests - failed)) passed, $failed failed"
	[ "$failed" = 0 ]
}
