package queue

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestWhatAJobDoesNotNameStaysTheDatabases(t *testing.T) {
	sql, params, err := statement(NewJob{Kind: "greet"})
	if err != nil {
		t.Fatal(err)
	}
	want := "select job_id, is_new from queue.enqueue(kind => $1::text, args => $2::text::jsonb)"
	if sql != want || !reflect.DeepEqual(params, []any{"greet", "{}"}) {
		t.Fatalf("%s with %v", sql, params)
	}
}

func TestAJobThatMakesNoSenseIsRefused(t *testing.T) {
	for name, job := range map[string]NewJob{
		"a moment beside a delay": {RunAt: time.Now(), Delay: time.Second},
		"no JSON":                 {Args: map[string]any{"much": math.Inf(1)}},
		"no JSON to compare":      {Unique: &Unique{Value: make(chan int)}},
		"fields and a value":      {Unique: &Unique{Value: 1, Fields: []string{"a"}}},
		"fields of a list":        {Args: []int{1}, Unique: &Unique{Fields: []string{"a"}}},
	} {
		if _, _, err := statement(job); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestAUniqueJobIsComparedBy(t *testing.T) {
	args := map[string]any{"a": 1, "b": uint64(1<<63 + 1)}
	for want, unique := range map[string]Unique{
		`{"a":1,"b":9223372036854775809}`:    {},
		`{"b":9223372036854775809,"c":null}`: {Fields: []string{"b", "c"}},
		`7`:                                  {Value: 7},
	} {
		sql, params, err := statement(NewJob{Kind: "greet", Args: args, Unique: &unique})
		if err != nil || !strings.Contains(sql, "unique_by => $3::text::jsonb") || params[2] != want {
			t.Errorf("%v gives %s with %v, %v", unique, sql, params, err)
		}
	}
}

func TestOfACarrierOnlyWhatTheQueueKnowsIsCarried(t *testing.T) {
	long := "a=" + strings.Repeat("b", maxTracestateBytes-2)
	for _, c := range []struct{ carrier, want map[string]string }{
		{map[string]string{"traceparent": "00", "baggage": "secret=1"}, map[string]string{"traceparent": "00"}},
		{map[string]string{"baggage": "secret=1"}, map[string]string{}},
		{map[string]string{"tracestate": long}, map[string]string{"tracestate": long}},
		{map[string]string{"tracestate": long + "b"}, map[string]string{}},
	} {
		if got := carriedOf(c.carrier); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v carries %v", c.carrier, got)
		}
	}
}

func TestANumberThatNoColumnHoldsIsNotCut(t *testing.T) {
	_, params, err := statement(NewJob{Kind: "greet", Priority: 1<<32 + 1})
	if err != nil || params[2] != int32(math.MaxInt32) {
		t.Fatalf("%v, %v", params, err)
	}
}
