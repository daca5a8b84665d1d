# A policy for `mayfly serve --opa-url http://127.0.0.1:8181/v1/data/mayfly/decision` (docs/policy.md).
# Run it: opa run --server --addr 127.0.0.1:8181 config/policy/mayfly.rego
package mayfly

# `input` has version, issuer, issuer_entry, issuer_type, subject, san.type, san.value, claims and request.
# A decision is a boolean, or an object with allow and, if it likes, reason (the caller is told) and rule (its name).
default decision := {
	"allow": false,
	"rule": "release-engineers",
	"reason": "only release engineers get certificates here",
}

decision := {"allow": true, "rule": "release-engineers"} if {
	"release-engineers" in input.claims.groups
	input.san.type == "email"
}
