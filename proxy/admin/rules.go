package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Rules are a file of rules that has been read, and has no mistake in itself:
//
//	proxies:
//	  - name: redis              # the listen address, if left out
//	    listen: 127.0.0.1:7000
//	    target: 127.0.0.1:6379
//	    requests: drip:1/1ms     # faults, in the language of fault.Parse
//	    replies: reset:10
//	    connect: first:2(refuse)
//	    seed: 7
//	    unreachable: fin         # reset, if left out
type Rules struct {
	file  string
	rules []rule
	names map[string]int // the line of each name
	keys  map[string]int // the line of each address
}

type rule struct {
	Spec
	line  int
	lines map[string]int // of its fields
}

// A RuleError is why a file of rules was refused.
type RuleError struct {
	File string
	Line int
	Err  error
}

// Error is, for example, "rules.yaml:7: replies: unknown fault".
func (e *RuleError) Error() string {
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

func (e *RuleError) Unwrap() error { return e.Err }

// maxRules is the largest rules file in octets. It has room for about 5,000 rules. To
// parse YAML takes about a hundred times its length in memory.
const maxRules = 1 << 20

// ReadRules reads a rules file of at most 1 MiB. The error is that of the file system,
// or a *RuleError.
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
	r := &Rules{file: file, names: make(map[string]int), keys: make(map[string]int)}
	if len(text) > maxRules {
		return nil, &RuleError{file, 1, fmt.Errorf("the file is larger than %d octets (1 MiB)", maxRules)}
	}
	var document yaml.Node
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, &RuleError{file, 1, errors.New("an empty file; for no proxies say proxies: []")}
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
	return r, nil
}

// proxies is the list of rules, the only thing in the file.
func (r *Rules) proxies(top *yaml.Node) (*yaml.Node, error) {
	fields, err := r.fields(top, "proxies")
	if err != nil {
		return nil, err
	}
	list := fields["proxies"]
	switch {
	case list == nil:
		return nil, r.wrong(top, errors.New("no proxies: in it"))
	case list.Kind != yaml.SequenceNode:
		return nil, r.wrong(list, errors.New("proxies: want a list"))
	}
	return list, nil
}

// add reads a rule, and compares it with those before it.
func (r *Rules) add(item *yaml.Node) error {
	fields, err := r.fields(item, "name", "listen", "target", "requests", "replies", "connect", "seed", "unreachable")
	if err != nil {
		return err
	}
	next := rule{line: item.Line, lines: make(map[string]int)}
	texts := map[string]*string{
		"name": &next.Name, "listen": &next.Listen, "target": &next.Target,
		"requests": &next.Requests, "replies": &next.Replies, "connect": &next.Connect,
		"unreachable": (*string)(&next.Unreachable),
	}
	for field, value := range fields {
		next.lines[field] = value.Line
		if value.Kind != yaml.ScalarNode {
			return r.wrong(value, fmt.Errorf("%s: want one value", field))
		}
		if field == "seed" {
			if next.Seed, err = strconv.ParseUint(value.Value, 10, 64); err != nil {
				return r.wrong(value, fmt.Errorf("seed: %q: want a number from 0 to %d", value.Value, uint64(1<<64-1)))
			}
		} else if value.Tag != "!!null" {
			*texts[field] = value.Value
		}
	}
	for _, needed := range []string{"listen", "target"} {
		if *texts[needed] == "" {
			return r.wrong(item, fmt.Errorf("no %s in this rule", needed))
		}
	}
	var failed *SpecError
	if err := next.check(); errors.As(err, &failed) {
		return r.errorAt(next, failed.Field, err)
	}
	return r.append(next)
}

func (r *Rules) append(next rule) error {
	if line := r.names[next.Name]; line > 0 {
		return r.errorAt(next, "name", fmt.Errorf("name: %s is that of line %d", next.Name, line))
	}
	if line := r.keys[next.key()]; line > 0 {
		return r.errorAt(next, "listen", fmt.Errorf("listen: %s is that of line %d", next.Listen, line))
	}
	r.names[next.Name], r.keys[next.key()] = next.line, next.line
	r.rules = append(r.rules, next)
	return nil
}

// fields are the values of a mapping, which has each of the known keys once at most.
func (r *Rules) fields(node *yaml.Node, known ...string) (map[string]*yaml.Node, error) {
	if node.Kind != yaml.MappingNode {
		return nil, r.wrong(node, fmt.Errorf("want %s: and so on", known[0]))
	}
	fields := make(map[string]*yaml.Node)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if !slices.Contains(known, key.Value) {
			return nil, r.wrong(key, fmt.Errorf("unknown key %q; there are %s", key.Value, strings.Join(known, ", ")))
		}
		if fields[key.Value] != nil {
			return nil, r.wrong(key, fmt.Errorf("%s: a second time", key.Value))
		}
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		fields[key.Value] = value
	}
	return fields, nil
}

func (r *Rules) specs() []Spec {
	specs := make([]Spec, len(r.rules))
	for i, rule := range r.rules {
		specs[i] = rule.Spec
	}
	return specs
}

// checkRings returns an error if a rule leads back to itself. A rule whose proxy was
// there before has the address of that proxy.
func (r *Rules) checkRings(places []place, before map[string]*member, others []*member) error {
	var all []node
	for i, rule := range r.rules {
		all = append(all, node{rule.Name, endpoint(places[i].listen), places[i].target})
		if m := before[rule.key()]; m != nil {
			all[i].listen = m.node().listen
		}
	}
	for _, m := range others {
		all = append(all, m.node())
	}
	nodes := newNodes(all)
	for i, rule := range r.rules {
		if names := nodes.ring(i); names != nil {
			return r.errorAt(rule, "target", &SpecError{"target", errRing(names)})
		}
	}
	return nil
}

func (r *Rules) wrong(at *yaml.Node, err error) error {
	return &RuleError{r.file, max(at.Line, 1), err}
}

// errorAt is an error in a field of a rule: at its line, or if it has none at the rule's.
func (r *Rules) errorAt(rule rule, field string, err error) error {
	line := rule.lines[field]
	if line == 0 {
		line = rule.line
	}
	return &RuleError{r.file, line, err}
}

func (r *Rules) yamlError(err error) error {
	line, why := 1, err.Error()
	if failed := (*yaml.LoadError)(nil); errors.As(err, &failed) {
		line, why = max(line, failed.Mark.Line), failed.Message
	}
	return &RuleError{r.file, line, errors.New(strings.TrimPrefix(why, "yaml: "))}
}
