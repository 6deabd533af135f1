package main

// Texts that clients and people know from the well-known runc: they must not be
// reworded (docs/decisions/0008). What libcontainer says stands there as its sentinel
// errors; compat_test.go holds both.
const (
	// The shims pass the last error of the log to the user, moby looks inside it for the reason
	// (exit codes 125 to 127): what follows the prefix may differ, the prefix is what people grep.
	compatCreateFailed = "runc create failed: %w"
	compatRunFailed    = "runc run failed: %w"
	compatExecFailed   = "exec failed: %w"
	// An exec without a command; process.args would be empty.
	compatExecArgs = "exec args cannot be empty"
	// Scripts run `runc spec` unasked and tell this refusal from others.
	compatSpecExists = "File %s exists. Remove it first"
	// Wrong values of flags, as runc's own integration suite expects them.
	compatLogFormat = "invalid log-format: %s"
	compatFormat    = "invalid format option"
	// ps was given options that hide the column which the answer is filtered by.
	compatPSHeader = "couldn't find PID field in ps output"
	compatSignal   = "unknown signal %q"
	compatInterval = "duration interval must be greater than 0"
	// A wrong number of arguments, behind the help on stdout.
	compatArgsExact = "runc: %q requires exactly %d argument(s)"
	compatArgsMin   = "runc: %q requires a minimum of %d argument(s)"
	compatArgsMax   = "runc: %q requires a maximum of %d argument(s)"
)
