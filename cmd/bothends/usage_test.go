package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/bothends/bothends"
)

// The errors of usage of each command: exit status 2, one line that says what was
// expected, a hint if there is one, and the usage. None has the text of a library.
func TestUsageErrors(t *testing.T) {
	usage := map[string]string{
		"": "bothends server|client [host]\n       bothends check|completion|explain|help|load|man|proxy|report|version",
	}
	for _, cmd := range allCommands(newRoot(io.Discard, io.Discard))[1:] {
		cmd.InitDefaultHelpFlag()
		usage[strings.TrimPrefix(cmd.CommandPath(), "bothends ")] = cmd.UseLine()
	}
	for _, c := range []struct{ command, args, want string }{
		{"", "", "no command given"},
		{"", "clinet", "unknown command \"clinet\"\nhint: did you mean: bothends client"},
		{"", "relay", "unknown command \"relay\""},
		{"", "help falts", "unknown command or page \"falts\"\nhint: did you mean: bothends help faults"},
		{"", "help clinet", "unknown command or page \"clinet\"\nhint: did you mean: bothends help client"},
		{"", "help report compar", "unknown command or page \"report compar\"\nhint: did you mean: bothends help report compare"},
		{"", "help server more", "unknown command or page \"server more\""},
		{"", "man sever", "unknown command \"sever\"\nhint: did you mean: bothends server"},
		{"", "man server more", "unknown command \"server more\""},
		{"", "--verison", "unknown flag --verison\nhint: did you mean: --version"},
		{"completion", "", "expected a shell: bash, fish, powershell or zsh"},
		{"completion", "zhs", "expected a shell: bash, fish, powershell or zsh\nhint: did you mean: bothends completion zsh"},
		{"completion bash", "now", "bothends completion bash takes no arguments, got \"now\""},
		{"version", "now", "bothends version takes no arguments, got \"now\""},

		{"server", "a b", "expected one HOST, got 2"},
		{"server", "--port", "--port needs a value: PORT"},
		{"server", "-p http", "--port \"http\": must be a number from 0 to 65535"},
		{"server", "-p -1", "--port \"-1\": must be a number from 0 to 65535"},
		{"server", "--timeout 5", "--timeout \"5\": must be a duration such as 1.5s, 200ms or 0"},
		{"server", "--drain soon", "--drain \"soon\": must be a duration such as 1.5s, 200ms or 0"},
		{"server", "--max-conns many", "--max-conns \"many\": must be a whole number, 0 means no limit"},
		{"server", "--message-size 1e3", "--message-size \"1e3\": must be a number of octets from 1 to 67108864"},
		{"server", "--seed x", "--seed \"x\": must be a whole number from 0 to 18446744073709551615"},
		{"server", "--seed -1", "--seed \"-1\": must be a whole number from 0 to 18446744073709551615"},
		{"server", "--trace=perhaps", "--trace \"perhaps\": must be true or false"},
		{"server", "--persitent", "unknown flag --persitent\nhint: did you mean: --persistent"},
		{"server", "-reply x", "unknown flag -reply\nhint: did you mean: --reply"},
		{"server", "-port 80", "--port \"ort\": must be a number from 0 to 65535\nhint: did you mean: --port"},
		{"server", "-x", "unknown flag -x"},
		{"server", "--=5", "\"--=5\" is not a flag"},

		{"client", "a b", "expected one HOST, got 2"},
		{"client", "--timout 2s", "unknown flag --timout\nhint: did you mean: --timeout"},
		{"client", "-timeout=2s", "unknown flag -timeout\nhint: did you mean: --timeout"},
		{"client", "--reply", "unknown flag --reply\nhint: did you mean: --reply-size"},
		{"client", "-o yaml", "--output \"yaml\": must be text or json"},
		{"client", "--fault reset:x", "--fault \"reset:x\": reset needs a number, not \"x\""},
		{"client", "--expect", "--expect needs a value: TEXT"},
		{"client", "--pcap=", "--pcap needs a value: FILE"},

		{"explain", "send recv", "expected one LESSON, got 2"},
		{"explain", "dedlock", "unknown lesson \"dedlock\"\nhint: did you mean: bothends explain deadlock"},
		{"explain", "udp", "unknown lesson \"udp\"\nhint: list the lessons with: bothends explain --list"},
		{"explain", "--pace fast", "--pace \"fast\": must be a duration such as 500ms or 2s"},
		{"explain", "--color maybe", "--color \"maybe\": must be auto, always or never"},
		{"explain", "--setp", "unknown flag --setp\nhint: did you mean: --step"},

		{"check", "", "expected one HOST, got 0"},
		{"check", "a b", "expected one HOST, got 2"},
		{"check", "a --limit 5", "--limit \"5\": must be a duration such as 1.5s, 200ms or 0"},
		{"check", "a --times 0", "--times \"0\": must be a whole number from 1 to 1000000"},
		{"check", "a --only \"a\"b", "--only \"\\\"a\\\"b\": must be names, separated by commas"},
		{"check", "a --skp fin", "unknown flag --skp\nhint: did you mean: --skip"},
		{"check client", "", "expected a COMMAND after --"},
		{"check client", "--many 5 -- true", "unknown flag --many"},

		{"proxy", "a b", "expected one TARGET, got 2"},
		{"proxy", "a --listn :1", "unknown flag --listn\nhint: did you mean: --listen"},
		{"proxy", "a --dial-timeout x", "--dial-timeout \"x\": must be a duration such as 1.5s, 200ms or 0"},
		{"proxy", "--rules=", "--rules needs a value: FILE"},

		{"load", "a b", "expected one HOST, got 2"},
		{"load", "--rate fast", "--rate \"fast\": must be a number from 0 to 1000000000"},
		{"load", "--rate NaN", "--rate \"NaN\": must be a number from 0 to 1000000000"},
		{"load", "-c 0", "--connections \"0\": must be a whole number from 1 to 1000000"},
		{"load", "-d 10", "--duration \"10\": must be a duration such as 1.5s, 200ms or 0"},
		{"load", "-n 1.5", "--count \"1.5\": must be a whole number, 0 means no limit"},
		{"load", "--fault-share 5%", "--fault-share requires --fault"},
		{"load", "--fault-share 5", "--fault-share \"5\": must be a percentage such as 5%"},
		{"load", "--arrival random", "--arrival \"random\": must be constant or poisson"},
		{"load", "--warmpu 1s", "unknown flag --warmpu\nhint: did you mean: --warmup"},

		{"report", "", "no FILE given"},
		{"report", "shwo a.json", "shwo: no such file or directory\nhint: did you mean: bothends report show"},
		{"report show", "", "no FILE given"},
		{"report merge", "--out", "--out needs a value: FILE"},
		{"report compare", "a", "expected two FILEs, or pairs of them, got 1"},
		{"report compare", "a b --least x", "--least \"x\": must be a percentage such as 5%"},
		{"report html", "--output x", "unknown flag --output\nhint: did you mean: --out"},
	} {
		var out, errs bytes.Buffer
		code := run(strings.Fields(c.command+" "+c.args), &out, &errs)
		want := "bothends: " + c.want + "\nusage: " + usage[c.command] + "\n"
		if code != exitUsage || errs.String() != want || out.Len() > 0 {
			t.Errorf("bothends %s %s: exit %d\n%s%swant:\n%s", c.command, c.args, code, &out, &errs, want)
		}
		if library := regexp.MustCompile(`strconv|Parse[A-Z]|invalid (argument|syntax)|shorthand|pflag`).FindString(errs.String()); library != "" {
			t.Errorf("bothends %s %s: a library's %q in\n%s", c.command, c.args, library, &errs)
		}
	}
}

// Each value has a name of ours in the help, such as N or FILE, or its choices; and no
// text names a file that an installed program does not have.
func TestHelpNames(t *testing.T) {
	name := regexp.MustCompile(`^([A-Z]+%?|[a-z]+(\|[a-z]+)+)$`)
	absent := regexp.MustCompile(`docs/|README|[a-z]\.md\b|testdata/`)
	for _, cmd := range allCommands(newRoot(io.Discard, io.Discard)) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			value, _ := pflag.UnquoteUsage(f)
			if f.Value.Type() != "bool" && !name.MatchString(value) {
				t.Errorf("%s --%s has a value named %q", cmd.CommandPath(), f.Name, value)
			}
		})
		if found := absent.FindString(helpText(cmd, maxColumns)); found != "" {
			t.Errorf("%s --help refers to %s", cmd.CommandPath(), found)
		}
	}
}

// A command whose flags cannot ask for TLS does not have an exit status for it.
func TestHelpHasStatusOfTLS(t *testing.T) {
	for _, cmd := range allCommands(newRoot(io.Discard, io.Discard)) {
		canTLS := false
		cmd.Flags().VisitAll(func(f *pflag.Flag) { canTLS = canTLS || strings.HasPrefix(f.Name, "tls") })
		if listed := regexp.MustCompile(`(?m)^ *6 +tls`).MatchString(cmd.Long); listed != canTLS {
			t.Errorf("%s: TLS is possible: %v, its exit status is listed: %v", cmd.CommandPath(), canTLS, listed)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	names := []string{"server", "client", "eof", "all"}
	for name, want := range map[string]string{
		"sevrer": "server", "Client": "client", "cl": "client", "eos": "eof", "al": "all", "e": "", "fin": "", "listener": "", "": "",
	} {
		if want != "" {
			want = "did you mean: " + want
		}
		if got := didYouMean(name, names, ""); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// A signal that comes while the name is looked up does not make the name wrong.
func TestNoHintForAStoppedLookUp(t *testing.T) {
	err := &bothends.ExchangeError{Op: "resolve", Peer: "slow.example", Err: context.Canceled}
	for outcome, want := range map[bothends.Outcome]string{bothends.Canceled: "", bothends.Unreachable: "check the name, or use an IP address"} {
		if got := new(clientFlags).hint(outcome, nil, err); got != want {
			t.Errorf("%v: %q", outcome, got)
		}
	}
}

// With -o json, a failure is one object on standard error, also if the flags cannot be
// parsed. Standard output has no object of it.
func TestErrorsAsJSON(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		command, env string
		code         int
		asText       bool
	}{
		{command: "server " + taken.Addr().String() + " -o json", code: exitNetwork},
		{command: "server " + taken.Addr().String(), env: "json", code: exitNetwork},
		{command: "server a b -o json", code: exitUsage},
		{command: "server --bad -o json", code: exitUsage},
		{command: "server -o json --bad", code: exitUsage},
		{command: "client --bad --output json", code: exitUsage},
		{command: "client -q --bad -o=json", code: exitUsage},
		{command: "client --bad -ojson", code: exitUsage},
		{command: "client --bad -o text -o json", code: exitUsage},
		{command: "client --bad", env: "json", code: exitUsage},
		{command: "client a b", env: "json", code: exitUsage},
		{command: "cleint -o json", code: exitUsage},
		{command: "cleint", env: "json", code: exitUsage},
		{command: "explain udp -o json", code: exitUsage},
		{command: "check -o json", code: exitUsage},
		{command: "check client -o json --bad -- true", code: exitUsage},
		{command: "load --rate x --output=json", code: exitUsage},
		{command: "report no-such-file -o json", code: exitUsage},
		{command: "report show -o json", code: exitUsage},
		{command: "report compare -o json a", code: exitUsage},

		{command: "client -o yaml", code: exitUsage, asText: true},
		{command: "client --bad -o text", env: "json", code: exitUsage, asText: true},
		{command: "client --bad -o", code: exitUsage, asText: true},
		{command: "client --message -o json b", code: exitUsage, asText: true}, // -o is the message
		{command: "check client --bad -- client -o json", code: exitUsage, asText: true},
		{command: "proxy -o json", code: exitUsage, asText: true}, // it has no such flag
		{command: "version --bad", env: "json", code: exitUsage, asText: true},
	} {
		t.Setenv("BOTHENDS_OUTPUT", c.env)
		var out, errs bytes.Buffer
		code := run(strings.Fields(c.command), &out, &errs)
		if code != c.code || out.Len() > 0 {
			t.Errorf("%s: exit %d, want %d\n%s%s", c.command, code, c.code, &out, &errs)
		}
		if c.asText {
			if !strings.HasPrefix(errs.String(), "bothends: ") {
				t.Errorf("%s: %s, want text", c.command, &errs)
			}
			continue
		}
		if o := valid(t, errs.Bytes()); len(o) != 1 || o[0]["schema"] != errorSchema || o[0]["exit"] != json.Number(strconv.Itoa(code)) {
			t.Errorf("%s: %s", c.command, &errs)
		}
	}
}
