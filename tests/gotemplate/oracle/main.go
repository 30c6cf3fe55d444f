// Renders templates with Go's own text/template and html/template: one JSON request a line, one JSON answer a line.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	html "html/template"
	"os"
	"strings"
	text "text/template"
	"time"
)

type request struct {
	Template string
	HTML     bool
	Data     map[string]any
	Labels   map[string]string
	Floats   []float64
	Ints     []int
}

type answer struct {
	Text  string
	Error string
}

// What the tests give both sides beside the language's own functions.
var functions = map[string]any{
	"json": func(value any) (string, error) {
		written, err := json.Marshal(value)
		return string(written), err
	},
	"parse": func(layout, value string) (string, error) {
		t, err := time.ParseInLocation(layout, value, time.UTC)
		return t.Format("2006-01-02T15:04:05.999999999Z07:00"), err
	},
}

func render(r request) (out answer) {
	defer func() {
		if problem := recover(); problem != nil {
			out = answer{Error: fmt.Sprint(problem)}
		}
	}()
	data := map[string]any{"Labels": r.Labels, "Floats": r.Floats, "Ints": r.Ints}
	for name, value := range r.Data {
		data[name] = value
	}
	var written strings.Builder
	var err error
	if r.HTML {
		var t *html.Template
		if t, err = html.New("t").Funcs(functions).Option("missingkey=zero").Parse(r.Template); err == nil {
			err = t.Execute(&written, data)
		}
	} else {
		var t *text.Template
		if t, err = text.New("t").Funcs(functions).Option("missingkey=zero").Parse(r.Template); err == nil {
			err = t.Execute(&written, data)
		}
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Text: written.String()}
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 1<<20), 1<<24)
	encoder := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			encoder.Encode(answer{Error: "request: " + err.Error()})
			continue
		}
		encoder.Encode(render(r))
	}
}
