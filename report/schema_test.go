package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/bothends/bothends/load"
)

const schemaFile = "../docs/schema/load-record.schema.json"

func validate(t *testing.T, r *load.Record) (object any, err error) {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	if object, err = jsonschema.UnmarshalJSON(&text); err != nil {
		t.Fatal(err)
	}
	return object, schema.Validate(object)
}

func TestRecordsFollowTheSchema(t *testing.T) {
	runner := load.Runner{Duration: 60 * time.Millisecond, Every: 20 * time.Millisecond, Success: []string{"ok", "empty"}, Start: func(context.Context, int) (load.Op, error) {
		return load.Op{Do: func(context.Context) load.Result {
			time.Sleep(time.Millisecond)
			return load.Result{Phases: []load.Phase{{Name: "wait", Took: time.Millisecond}}}
		}}, nil
	}}
	real, err := runner.Record(t.Context(), load.Meta{Label: "real"})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*load.Record{"frozen": frozen(), "real": real, "simulated": simulation{intervals: 2, every: time.Second, rate: 100}.run(), "empty": {Config: load.Config{Loop: "open"}}} {
		if _, err := validate(t, r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := frozen()
	r.Config.Loop = "round"
	if _, err := validate(t, r); err == nil || !strings.Contains(err.Error(), "/config/loop") {
		t.Errorf("a loop that there is not: %v", err)
	}
}

// The schema has each property that a record can have, and no other.
func TestSchemaHasEachProperty(t *testing.T) {
	var r load.Record
	fill(reflect.ValueOf(&r).Elem())
	r.Config.Loop, r.Config.FaultShare = "open", 0.5
	object, err := validate(t, &r) // it allows no property besides its own
	if err != nil {
		t.Error(err)
	}
	record := object.(map[string]any)
	defs := struct {
		Properties map[string]any
		Defs       map[string]struct{ Properties map[string]any } `json:"$defs"`
	}{}
	readJSON(t, schemaFile, &defs)
	for name, found := range map[string]any{"config": record["config"], "host": record["host"], "kernel": record["kernel"], "interval": record["intervals"].([]any)[0]} {
		if diff := cmp.Diff(slices.Sorted(maps.Keys(found.(map[string]any))), slices.Sorted(maps.Keys(defs.Defs[name].Properties))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(record)), slices.Sorted(maps.Keys(defs.Properties))); diff != "" {
		t.Error(diff)
	}
}

// fill gives each field a value, so that none is left out.
func fill(v reflect.Value) {
	if h, ok := v.Addr().Interface().(*load.Histogram); ok {
		h.Record(time.Millisecond)
		return
	}
	if at, ok := v.Addr().Interface().(*time.Time); ok {
		*at = time.Unix(1, 0)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for n := range v.NumField() {
			fill(v.Field(n))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("x"), value)
	case reflect.String:
		v.SetString("x")
	case reflect.Float64:
		v.SetFloat(1)
	default:
		v.SetInt(1)
	}
}

func readJSON(t *testing.T, file string, to any) {
	t.Helper()
	if err := json.Unmarshal(readFile(t, file), to); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
