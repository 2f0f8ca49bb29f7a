package admin

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/bothends/bothends/proxy"
)

// Rules is a rules file that has been read and checked:
//
//	proxies:
//	  - name: redis              # optional
//	    listen: 127.0.0.1:7000   # or unix:PATH, as target
//	    target: 127.0.0.1:6379
//	    requests: drip:1/1ms     # faults, in the language of fault.Parse
//	    replies: reset:10
//	    connect: first:2(refuse)
//	    seed: 7
//	    unreachable: fin         # or reset, the default
type Rules struct {
	Specs []proxy.Spec

	file  string
	lines []map[string]int // of the fields of each Spec; "" is the rule's
}

// A RuleError is returned for a rules file that is not valid or cannot be applied.
type RuleError struct {
	File string
	Line int
	Err  error
}

// Error returns, for example, "rules.yaml:7: replies: unknown fault".
func (e *RuleError) Error() string {
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

func (e *RuleError) Unwrap() error { return e.Err }

// maxRules is the largest rules file in octets. It has room for about 5,000 rules. To
// parse YAML takes about a hundred times its length in memory.
const maxRules = 1 << 20

// ReadRules reads a rules file of at most 1 MiB. The error is that of the file system, or
// a *[RuleError].
func ReadRules(file string) (*Rules, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRules+1))
	if err != nil {
		return nil, err
	}
	return ParseRules(file, text)
}

// ParseRules parses rules of at most 1 MiB. The name of the file is used in errors.
func ParseRules(file string, text []byte) (*Rules, error) {
	r := &Rules{file: file}
	if len(text) > maxRules {
		return nil, &RuleError{file, 1, fmt.Errorf("the file is larger than %d octets (1 MiB)", maxRules)}
	}
	var document yaml.Node
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, &RuleError{file, 1, errors.New("the file is empty; for no proxies, write proxies: []")}
	}
	if err := yaml.Load(text, &document); err != nil {
		return nil, r.yamlError(err)
	}
	top := &document
	if top.Kind == yaml.DocumentNode && len(top.Content) == 1 {
		top = top.Content[0]
	}
	list, err := r.proxies(top)
	if err != nil {
		return nil, err
	}
	for _, item := range list.Content {
		if err := r.add(item); err != nil {
			return nil, err
		}
	}
	if err := proxy.CheckSpecs(r.Specs); err != nil {
		return nil, r.located(err)
	}
	return r, nil
}

// proxies returns the list of rules, which is all that a file contains.
func (r *Rules) proxies(top *yaml.Node) (*yaml.Node, error) {
	fields, err := r.fields(top, "proxies")
	if err != nil {
		return nil, err
	}
	list := fields["proxies"]
	switch {
	case list == nil:
		return nil, r.wrong(top, errors.New("proxies: is missing"))
	case list.Kind != yaml.SequenceNode:
		return nil, r.wrong(list, errors.New("proxies: expected a list"))
	}
	return list, nil
}

// add reads a rule.
func (r *Rules) add(item *yaml.Node) error {
	fields, err := r.fields(item, "name", "listen", "target", "requests", "replies", "connect", "seed", "unreachable")
	if err != nil {
		return err
	}
	var spec proxy.Spec
	lines := map[string]int{"": item.Line}
	texts := map[string]*string{
		"name": &spec.Name, "listen": &spec.Listen, "target": &spec.Target,
		"requests": &spec.Requests, "replies": &spec.Replies, "connect": &spec.Connect,
		"unreachable": (*string)(&spec.Unreachable),
	}
	for field, value := range fields {
		lines[field] = value.Line
		if value.Kind != yaml.ScalarNode {
			return r.wrong(value, fmt.Errorf("%s: expected one value", field))
		}
		if field == "seed" {
			if spec.Seed, err = strconv.ParseUint(value.Value, 10, 64); err != nil {
				return r.wrong(value, fmt.Errorf("seed: %q: expected a number from 0 to %d", value.Value, uint64(1<<64-1)))
			}
		} else if value.Tag != "!!null" {
			*texts[field] = value.Value
		}
	}
	for _, needed := range []string{"listen", "target"} {
		if *texts[needed] == "" {
			return r.wrong(item, fmt.Errorf("%s is missing in this rule", needed))
		}
	}
	r.Specs = append(r.Specs, spec)
	r.lines = append(r.lines, lines)
	return nil
}

// fields returns the values of a mapping, which has each of the known keys at most once.
func (r *Rules) fields(node *yaml.Node, known ...string) (map[string]*yaml.Node, error) {
	if node.Kind != yaml.MappingNode {
		return nil, r.wrong(node, fmt.Errorf("expected a mapping with the key %s", known[0]))
	}
	fields := make(map[string]*yaml.Node)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if !slices.Contains(known, key.Value) {
			return nil, r.wrong(key, fmt.Errorf("unknown key %q; the keys are %s", key.Value, strings.Join(known, ", ")))
		}
		if fields[key.Value] != nil {
			return nil, r.wrong(key, fmt.Errorf("%s: the key is repeated", key.Value))
		}
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		fields[key.Value] = value
	}
	return fields, nil
}

// Apply makes the proxies of a Set what the rules say: see [proxy.Set.Apply]. An error in a
// rule, or of its address, is a *[RuleError].
func (r *Rules) Apply(ctx context.Context, s *proxy.Set) error {
	return r.located(s.Apply(ctx, r.Specs))
}

// located returns an error of a rule with its line.
func (r *Rules) located(err error) error {
	var failed *proxy.SpecsError
	if !errors.As(err, &failed) {
		return err
	}
	lines := r.lines[failed.Index]
	line := cmp.Or(lines[failed.Field], lines[""])
	var used *proxy.UsedError
	if errors.As(err, &used) {
		return &RuleError{r.file, line, fmt.Errorf("%s: %s is used in line %d", failed.Field, used.Value, r.lines[used.Index][""])}
	}
	return &RuleError{r.file, line, failed.Err}
}

func (r *Rules) wrong(at *yaml.Node, err error) error {
	return &RuleError{r.file, max(at.Line, 1), err}
}

func (r *Rules) yamlError(err error) error {
	line, why := 1, err.Error()
	if failed := (*yaml.LoadError)(nil); errors.As(err, &failed) {
		line, why = max(line, failed.Mark.Line), failed.Message
	}
	return &RuleError{r.file, line, errors.New(strings.TrimPrefix(why, "yaml: "))}
}
